/** What labels, levels and reasons mean, in words that a reader can act on. */

const LABELS = {
  atelectasis: "Atelectasis",
  cardiomegaly: "Cardiomegaly",
  consolidation: "Consolidation",
  edema: "Edema",
  pleural_effusion: "Pleural effusion",
};

const EVIDENCE = {
  validated: {
    name: "Validated.",
    sentence:
      "The accuracy of this network was measured on data that represents its use; its model card holds the figures. It supports a reader and does not replace one.",
  },
  research: {
    name: "Research grade.",
    sentence:
      "The accuracy of this network was measured on research data, not where it is used now. Do not base a diagnosis on it.",
  },
  demo: {
    name: "Demo grade: not for diagnosis.",
    sentence:
      "This network shows that the platform works. It learned from too few pictures to be trusted with a patient, and what it finds or misses means nothing for care.",
  },
  rules: {
    name: "Rules.",
    sentence: "This answer comes from fixed rules, not from a network that learned from pictures.",
  },
};

const UNKNOWN_EVIDENCE = {
  name: "Unknown evidence.",
  sentence: "Nothing is known about the accuracy of this answer. Do not base a diagnosis on it.",
};

const ADVICE = {
  "too-small": "Send the original file instead of a thumbnail.",
  colour: "Send the radiograph itself, not a photograph of a screen or film.",
  aspect: "Cut the picture to the chest, or send the original file.",
  "low-contrast": "Export it again with the usual window for a chest.",
  clipped: "Export it again with a wider window.",
  "few-grey-levels": "Export it again without reducing its grey levels.",
  "not-smooth": "Send the original file, without text, drawings or heavy compression.",
  "no-lung-fields": "Check that it is a frontal view that shows both lungs.",
  inverted: "Invert it, so that bone is bright and air is dark.",
  "not-a-chest": "Check that the right file was chosen, and its body part.",
  "not-a-radiograph": "Only plain radiographs are read here, no CT, MR or ultrasound.",
  "not-frontal": "Send the frontal view (PA or AP) of this examination.",
};

const IN_WORDS = /[-_]+/g;

/** The name of a finding. */
export function labelName(label) {
  return LABELS[label] ?? capitalised(label.replace(IN_WORDS, " "));
}

/** What an evidence level means: `{name, sentence}`. */
export function evidenceWords(level) {
  return EVIDENCE[level] ?? UNKNOWN_EVIDENCE;
}

/** How far the probabilities are chances. */
export function calibrationWords(isCalibrated) {
  return isCalibrated
    ? "Calibrated: of 100 pictures like its training data that get 0.70, about 70 have the finding."
    : "Not calibrated: they rank pictures, but 0.70 does not mean 70 in 100.";
}

/** Why the gate refused a picture and what to do: `[{sentence, advice}]`. */
export function refusalWords(gate) {
  return gate.reasons.map((reason, at) => ({
    sentence: gate.explanations?.[at] ?? `${capitalised(reason.replace(IN_WORDS, " "))}.`,
    advice: ADVICE[reason] ?? "",
  }));
}

/** One line about a study for a list. */
export function studySummary(study) {
  if (!study.gate.accepted) return "Not read: no frontal chest radiograph";
  if (study.withheld) return "Findings withheld";
  const positive = study.findings.filter((finding) => finding.positive);
  if (positive.length === 0) return "Nothing over its operating point";
  return `Positive: ${positive.map((finding) => labelName(finding.label)).join(", ")}`;
}

/** An instant in the reader's own time zone. */
export function instant(text) {
  const at = new Date(text);
  return Number.isNaN(at.getTime())
    ? text
    : at.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}

/** A file's size. */
export function fileSize(bytes) {
  const units = ["bytes", "kB", "MB", "GB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(bytes, 1)) / 3));
  return `${(bytes / 1000 ** power).toFixed(power > 1 ? 1 : 0)} ${units[power]}`;
}

function capitalised(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
