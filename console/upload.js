/** Sending one radiograph: choose or drop, see how far it is, cancel, try again. */

import { Problem } from "./problem.js";
import { fileSize } from "./wording.js";

const STUDIES = "/api/v2/chexray/studies";
const PREVIEWED = new Set(["image/png", "image/jpeg"]);

/** The upload form. Calls `onRead(study)` with every answer, `onProblem(error)` otherwise. */
export class UploadForm {
  #session;
  #file = null;
  #sending = null;
  /** A repeated request with the same key is answered with the first one's study. */
  #key = newKey();
  #form = document.getElementById("upload-form");
  #drop = document.getElementById("drop");
  #input = document.getElementById("image");
  #name = document.getElementById("image-name");
  #note = document.getElementById("image-note");
  #title = document.getElementById("title");
  #button = document.getElementById("upload-button");
  #cancel = document.getElementById("upload-cancel");
  #progress = document.getElementById("progress");
  #progressText = document.getElementById("progress-text");
  #progressBar = document.getElementById("progress-bar");
  #unchosen = { name: this.#name.textContent, note: this.#note.textContent };

  constructor(session, { onRead, onProblem }) {
    this.#session = session;
    this.#input.addEventListener("change", () => {
      if (this.#input.files.length) this.#choose(this.#input.files[0]);
    });
    this.#title.addEventListener("input", () => {
      this.#key = newKey();
    });
    this.#cancel.addEventListener("click", () => this.#sending?.abort());
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#sending) return;
      if (!this.#file) {
        this.#input.focus();
        onProblem(new Problem({ title: "No file chosen", detail: "Choose a radiograph first." }));
        return;
      }
      this.#send().then(onRead, onProblem);
    });
    this.#acceptDrops();
  }

  /** Whether this account may send radiographs; the form says so when it may not. */
  allow(isAllowed) {
    this.#button.disabled = this.#input.disabled = this.#title.disabled = !isAllowed;
    this.#name.textContent = isAllowed ? this.#unchosen.name : "Your account may not read radiographs";
    this.#note.textContent = isAllowed ? this.#unchosen.note : "Ask an administrator for the role clinician.";
  }

  /** As it was before anything was chosen; what is being sent is cancelled. */
  clear() {
    this.#sending?.abort();
    this.#file = null;
    this.#key = newKey();
    this.#form.reset();
    this.#drop.classList.remove("chosen");
    this.#name.textContent = this.#unchosen.name;
    this.#note.textContent = this.#unchosen.note;
    showPreview(this.#drop, null);
  }

  #choose(file) {
    if (this.#sending) return;
    this.#file = file;
    this.#key = newKey();
    this.#drop.classList.add("chosen");
    this.#name.textContent = file.name;
    this.#note.textContent = `${fileSize(file.size)} · choose or drop another to replace it`;
    showPreview(this.#drop, file);
  }

  #acceptDrops() {
    // A file dropped beside the target must not make the browser leave the page.
    for (const type of ["dragover", "drop"]) {
      window.addEventListener(type, (event) => event.preventDefault());
    }
    this.#drop.addEventListener("dragenter", () => this.#drop.classList.add("over"));
    this.#drop.addEventListener("dragleave", (event) => {
      if (!this.#drop.contains(event.relatedTarget)) this.#drop.classList.remove("over");
    });
    this.#drop.addEventListener("drop", (event) => {
      this.#drop.classList.remove("over");
      const file = event.dataTransfer?.files[0];
      if (file && !this.#input.disabled) this.#choose(file);
    });
  }

  async #send() {
    const body = new FormData();
    body.append("image", this.#file, this.#file.name);
    if (this.#title.value.trim()) body.append("title", this.#title.value.trim());
    this.#sending = new AbortController();
    this.#show(0);
    try {
      const response = await this.#session.askWith(
        (token) =>
          post(STUDIES, body, {
            headers: { Authorization: `Bearer ${token}`, "Idempotency-Key": this.#key },
            signal: this.#sending.signal,
            onProgress: (share) => this.#show(share),
          }),
        STUDIES,
      );
      const study = await response.json();
      this.#sending = null;
      this.clear();
      return study;
    } finally {
      this.#sending = null;
      this.#show(null);
    }
  }

  /** @param {?number} share of the file that has left, 0 to 1; null when nothing is being sent. */
  #show(share) {
    const isSending = share !== null;
    this.#progress.hidden = this.#cancel.hidden = !isSending;
    this.#button.disabled = this.#input.disabled = isSending;
    if (!isSending) return;
    if (share < 1) {
      this.#progressText.textContent = "Sending the picture …";
      this.#progressBar.value = share;
    } else {
      this.#progressText.textContent = "Reading the picture …";
      this.#progressBar.removeAttribute("value");
    }
  }
}

/** `fetch` does not tell how much of a body has left; this does. */
function post(path, body, { headers, signal, onProgress }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) onProgress(event.loaded / event.total);
    });
    request.upload.addEventListener("load", () => onProgress(1));
    request.addEventListener("load", () => {
      const answered = new Headers();
      for (const name of ["Content-Type", "Retry-After", "X-Request-ID"]) {
        const value = request.getResponseHeader(name);
        if (value) answered.set(name, value);
      }
      resolve(new Response(request.responseText, { status: request.status, headers: answered }));
    });
    request.addEventListener("error", () => reject(Problem.unreachable()));
    request.addEventListener("abort", () => reject(new DOMException("Cancelled", "AbortError")));
    signal.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}

function showPreview(drop, file) {
  const old = drop.querySelector("img");
  if (old) {
    URL.revokeObjectURL(old.src);
    old.remove();
  }
  if (!file || !PREVIEWED.has(file.type)) return;
  const preview = document.createElement("img");
  preview.alt = "";
  preview.src = URL.createObjectURL(file);
  preview.addEventListener("error", () => preview.remove());
  drop.prepend(preview);
}

/** 128 random bits. `crypto.randomUUID` is missing where the page comes without TLS. */
function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
