/** One study: the picture with what the network looked at, the findings, and what they are worth. */

import { Problem } from "./problem.js";
import {
  calibrationWords,
  evidenceWords,
  fileSize,
  instant,
  labelName,
  refusalWords,
} from "./wording.js";

const STUDIES = "/api/v2/chexray/studies";
const PLAIN = "";
/** What every browser draws; a DICOM or TIFF file is asked for as PNG. */
const DRAWN = new Set(["image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp"]);
/** Enough to tell a small probability from a small operating point. */
const DIGITS = 3;
const FETCHING = "Fetching the picture …";
const FAILED = "The picture could not be fetched.";
const ACCEPT = [...DRAWN].join(", ");

/** The panel of the open study. */
export class StudyPanel {
  #session;
  #onDeleted;
  #onProblem;
  #study = null;
  #label = PLAIN;
  #plainState = "";
  /** Drawn pictures of the open study as blob addresses, by label; `PLAIN` is the radiograph. */
  #pictures = new Map();
  /** Ends what is still being fetched when another study is opened. */
  #fetching = new AbortController();

  constructor(session, { onDeleted, onProblem }) {
    this.#session = session;
    this.#onDeleted = onDeleted;
    this.#onProblem = onProblem;
    element("strength").addEventListener("input", () => this.#arrange());
    element("map-choices").addEventListener("change", (event) => this.#look(event.target.value));
    element("report").addEventListener("click", () => this.#download());
    element("delete").addEventListener("click", () => element("delete-dialog").showModal());
    element("delete-dialog").addEventListener("close", () => {
      if (element("delete-dialog").returnValue === "delete") void this.#delete();
    });
  }

  /** Whether this account may delete what it keeps. */
  allow(isAllowed) {
    element("delete").hidden = !isAllowed;
  }

  /** Show `study` and put the reader at its head. */
  open(study) {
    this.close();
    this.#study = study;
    element("study-empty").hidden = true;
    element("study").hidden = false;
    element("study-heading").textContent = study.title || "Untitled study";
    element("study-facts").textContent = [
      instant(study.created_at),
      `${study.image.width_px} × ${study.image.height_px} px`,
      study.image.format.toUpperCase(),
      fileSize(study.image.size_bytes),
      ...(study.gate.turned_left_deg ? [`turned left by ${study.gate.turned_left_deg}° to be read`] : []),
    ].join(" · ");
    this.#tellWorth(study);
    this.#tellFindings(study);
    this.#offerMaps(study);
    this.#label = PLAIN;
    this.#plainState = FETCHING;
    this.#arrange();
    void this.#drawPlain(study);
    element("study-heading").focus();
  }

  /** As it was before any study was open. */
  close() {
    this.#fetching.abort();
    this.#fetching = new AbortController();
    this.#study = null;
    for (const address of this.#pictures.values()) URL.revokeObjectURL(address);
    this.#pictures.clear();
    for (const id of ["radiograph", "heatmap"]) {
      element(id).removeAttribute("src");
      element(id).alt = "";
      element(id).hidden = true;
    }
    element("findings").replaceChildren();
    element("reasons").replaceChildren();
    element("map-choices").replaceChildren();
    for (const id of ["study-facts", "model", "calibration", "picture-state"]) {
      element(id).textContent = "";
    }
    element("study-heading").textContent = "No study is open";
    element("study").hidden = true;
    element("study-empty").hidden = false;
  }

  #tellWorth(study) {
    const { name, sentence } = evidenceWords(study.evidence);
    element("evidence").dataset.level = study.evidence;
    element("evidence").hidden = !study.gate.accepted;
    element("evidence-name").textContent = name;
    element("evidence-sentence").textContent = sentence;
    element("model").textContent = `${study.model.id}@${study.model.version}`;
    element("model").title = `SHA-256 ${study.model.sha256}`;
    element("calibration").textContent = calibrationWords(study.calibrated);
  }

  #tellFindings(study) {
    element("findings-block").hidden = study.findings.length === 0;
    element("findings").replaceChildren(...study.findings.map(findingRow));
    element("report").hidden = study.findings.length === 0 || !study.report_url;
    element("refusal").hidden = study.findings.length > 0;
    if (study.withheld) {
      element("refusal-heading").textContent = "Findings withheld";
      element("refusal-note").textContent =
        "This installation gives no answers of this evidence level. The administrator decides that with VEDETTE_EVIDENCE.";
      element("reasons").replaceChildren();
    } else {
      element("refusal-heading").textContent = "Not read: this does not look like a frontal chest radiograph";
      element("refusal-note").textContent =
        "The network did not look at this picture, so there are no probabilities. The picture is kept.";
      element("reasons").replaceChildren(...refusalWords(study.gate).map(reasonRow));
    }
  }

  #offerMaps(study) {
    element("maps").hidden = study.findings.length === 0 || !study.heatmap_url;
    element("map-choices").replaceChildren(
      choice(PLAIN, "Radiograph only", true),
      ...study.findings.map(({ label }) => choice(label, labelName(label), false)),
    );
  }

  /** Fetch the radiograph itself, which lies below every map. */
  async #drawPlain(study) {
    try {
      const address = await this.#picture(study, study.image_url, PLAIN);
      if (this.#study !== study) return;
      if (address) draw("radiograph", address, `Radiograph ${study.title}`);
      else this.#plainState = `Browsers do not show ${study.image.format.toUpperCase()} files.`;
    } catch (error) {
      if (this.#study !== study) return;
      this.#plainState = FAILED;
      this.#onProblem(error);
    }
    this.#arrange();
  }

  /** Lay the map of `label` over the radiograph, or none when that is `PLAIN`. */
  async #look(label) {
    const study = this.#study;
    this.#label = label;
    element("heatmap").hidden = true;
    this.#arrange();
    if (label === PLAIN) return;
    try {
      const path = `${study.heatmap_url}?label=${encodeURIComponent(label)}`;
      const address = await this.#picture(study, path, label);
      if (this.#study !== study || this.#label !== label) return;
      if (!address) throw new Problem({ title: FAILED, detail: "The answer was no picture." });
      const name = labelName(label).toLowerCase();
      draw("heatmap", address, `Radiograph, coloured where it speaks for ${name}, red the most`);
      this.#arrange();
    } catch (error) {
      if (this.#study !== study || this.#label !== label) return;
      element("picture-state").textContent = FAILED;
      this.#onProblem(error);
    }
  }

  /** Say what is still missing, and let the overlay fade only where there is something below it. */
  #arrange() {
    const [radiograph, heatmap] = [element("radiograph"), element("heatmap")];
    const isMissing = this.#label === PLAIN ? radiograph.hidden : heatmap.hidden;
    const missing = this.#label === PLAIN ? this.#plainState : FETCHING;
    element("picture-state").textContent = isMissing ? missing : "";
    element("strength-row").hidden = heatmap.hidden || radiograph.hidden;
    heatmap.style.opacity = String(radiograph.hidden ? 1 : element("strength").valueAsNumber / 100);
  }

  /** The picture's blob address; null where it is of a kind that browsers do not draw. */
  async #picture(study, path, label) {
    const known = this.#pictures.get(label);
    if (known) return known;
    const response = await this.#session.ask(path, {
      headers: { Accept: ACCEPT },
      signal: this.#fetching.signal,
    });
    const picture = await response.blob();
    if (!DRAWN.has(picture.type.split(";")[0]) || this.#study !== study) return null;
    const address = URL.createObjectURL(picture);
    this.#pictures.set(label, address);
    return address;
  }

  async #delete() {
    const study = this.#study;
    element("delete-dialog").returnValue = "";
    try {
      await this.#session.ask(`${STUDIES}/${encodeURIComponent(study.id)}`, { method: "DELETE" });
      if (this.#study === study) {
        this.close();
        element("study-heading").focus();
      }
      this.#onDeleted(study);
    } catch (error) {
      this.#onProblem(error);
    }
  }

  async #download() {
    const study = this.#study;
    const button = element("report");
    button.disabled = true;
    try {
      const response = await this.#session.ask(study.report_url, { signal: this.#fetching.signal });
      const address = URL.createObjectURL(await response.blob());
      const link = document.createElement("a");
      link.href = address;
      link.download = `study-${study.id}.dcm`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(address), 60_000);
    } catch (error) {
      this.#onProblem(error);
    } finally {
      button.disabled = false;
    }
  }
}

function draw(id, address, words) {
  const image = element(id);
  image.src = address;
  image.alt = words;
  image.hidden = false;
}

function findingRow({ label, probability, operating_point: operatingPoint, positive }) {
  const row = document.getElementById("finding-row").content.cloneNode(true).firstElementChild;
  const part = (name) => row.querySelector(`.${name}`);
  row.classList.toggle("positive", positive);
  part("name").textContent = labelName(label);
  part("verdict").textContent = positive ? "Positive" : "Negative";
  part("value").textContent = probability.toFixed(DIGITS);
  part("bar-fill").style.width = percent(probability);
  part("bar-tick").style.left = percent(operatingPoint);
  part("point").textContent = `Operating point ${operatingPoint.toFixed(DIGITS)}`;
  return row;
}

function reasonRow({ sentence, advice }) {
  const row = document.createElement("li");
  const what = document.createElement("strong");
  what.textContent = sentence;
  row.append(what, ` ${advice}`);
  return row;
}

function choice(value, name, isChosen) {
  const label = document.createElement("label");
  const input = document.createElement("input");
  input.type = "radio";
  input.name = "map";
  input.value = value;
  input.defaultChecked = isChosen;
  const text = document.createElement("span");
  text.textContent = name;
  label.append(input, text);
  return label;
}

function percent(share) {
  return `${Math.min(1, Math.max(0, share)) * 100}%`;
}

function element(id) {
  return document.getElementById(id);
}
