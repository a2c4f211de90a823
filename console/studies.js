/** The list of one's studies, newest first, a page at a time. */

import { instant, studySummary } from "./wording.js";

const STUDIES = "/api/v2/chexray/studies";
const PAGE = 10;
const NONE = "You have no studies.";

/** The list beside the open study. Calls `onOpen(study)` when one is chosen. */
export class StudyList {
  #session;
  #onOpen;
  #onProblem;
  #cursor = null;
  #shown = new Set();
  #generation = 0;
  #list = document.getElementById("studies");
  #state = document.getElementById("studies-state");
  #more = document.getElementById("more");

  constructor(session, { onOpen, onProblem }) {
    this.#session = session;
    this.#onOpen = onOpen;
    this.#onProblem = onProblem;
    this.#more.addEventListener("click", () => void this.#extend());
  }

  /** Show the first page. */
  async load() {
    this.clear();
    await this.#extend();
  }

  /** Put a study that was just read on top, and mark it as open. */
  add(study) {
    if (!this.#shown.has(study.id)) {
      this.#shown.add(study.id);
      this.#list.prepend(this.#row(study));
      this.#state.textContent = "";
    }
    this.mark(study.id);
  }

  /** Mark the study that is open. */
  mark(id) {
    for (const button of this.#list.querySelectorAll("button")) {
      if (button.dataset.study === id) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  }

  /** Take a study that was deleted off the list. */
  remove(id) {
    const button = [...this.#list.querySelectorAll("button")].find((row) => row.dataset.study === id);
    button?.parentElement.remove();
    this.#shown.delete(id);
    if (this.#shown.size === 0) this.#state.textContent = NONE;
  }

  /** Forget every study. */
  clear() {
    this.#generation += 1;
    this.#cursor = null;
    this.#shown.clear();
    this.#list.replaceChildren();
    this.#state.textContent = "";
    this.#more.hidden = true;
  }

  async #extend() {
    const generation = this.#generation;
    const query = new URLSearchParams({ limit: String(PAGE) });
    if (this.#cursor) query.set("cursor", this.#cursor);
    this.#more.disabled = true;
    this.#state.textContent = "Fetching the list …";
    try {
      const page = await (await this.#session.ask(`${STUDIES}?${query}`)).json();
      if (generation !== this.#generation) return;
      const fresh = page.items.filter((study) => !this.#shown.has(study.id));
      for (const study of fresh) this.#shown.add(study.id);
      this.#list.append(...fresh.map((study) => this.#row(study)));
      this.#cursor = page.next_cursor;
      this.#more.hidden = this.#cursor === null;
      this.#state.textContent = this.#shown.size ? "" : NONE;
    } catch (error) {
      if (generation !== this.#generation) return;
      this.#state.textContent = "The list could not be fetched.";
      this.#more.hidden = false;
      this.#onProblem(error);
    } finally {
      this.#more.disabled = false;
    }
  }

  #row(study) {
    const row = document.getElementById("study-row").content.cloneNode(true).firstElementChild;
    const button = row.querySelector("button");
    const part = (name) => row.querySelector(`.study-${name}`);
    button.dataset.study = study.id;
    part("title").textContent = study.title || "Untitled study";
    part("time").textContent = instant(study.created_at);
    part("summary").textContent = studySummary(study);
    button.addEventListener("click", () => void this.#fetchAndOpen(study.id, button));
    return row;
  }

  /** A study may have been withheld or removed since the list was made: ask for it again. */
  async #fetchAndOpen(id, button) {
    const generation = this.#generation;
    button.setAttribute("aria-busy", "true");
    try {
      const study = await (await this.#session.ask(`${STUDIES}/${encodeURIComponent(id)}`)).json();
      if (generation !== this.#generation) return;
      this.mark(id);
      this.#onOpen(study);
    } catch (error) {
      if (generation === this.#generation) this.#onProblem(error);
    } finally {
      button.removeAttribute("aria-busy");
    }
  }
}
