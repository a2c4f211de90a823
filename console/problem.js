/** What went wrong, as the platform says it (RFC 9457) or as far as the browser knows it. */

/** An answer that is not a success, or no answer at all. */
export class Problem extends Error {
  /** @param {{title: string, detail?: string, status?: number, requestId?: string}} members */
  constructor({ title, detail = "", status = 0, requestId = "" }) {
    super(title);
    this.title = title;
    this.detail = detail;
    this.status = status;
    this.requestId = requestId;
  }

  /** The problem that `response` carries; a body that is none still gives its status. */
  static async of(response) {
    let body = {};
    try {
      body = (await response.json()) ?? {};
    } catch {
      // Some refusals below the application are plain text.
    }
    const wait = response.headers.get("Retry-After");
    const again = /^\d+$/.test(wait ?? "") ? ` Try again in ${wait} s.` : "";
    return new Problem({
      title: text(body.title) || `The server answered ${response.status}`,
      detail: `${text(body.detail) || text(body.error_description)}${again}`.trim(),
      status: response.status,
      requestId: text(body.request_id) || response.headers.get("X-Request-ID") || "",
    });
  }

  /** Nothing came back. */
  static unreachable() {
    return new Problem({
      title: "No answer",
      detail: "The server could not be reached, or the connection broke. Nothing is lost; try again.",
    });
  }
}

/** Show `error` in `area`; anything but a problem is a mistake of this page. */
export function show(area, error) {
  if (error?.name === "AbortError") return;
  const notice = document.getElementById("problem-notice").content.cloneNode(true).firstElementChild;
  const part = (name) => notice.querySelector(`.problem-${name}`);
  part("title").textContent = error instanceof Problem ? error.title : "This page made a mistake";
  part("detail").textContent = error instanceof Problem ? error.detail : String(error);
  part("request").textContent = error?.requestId ? `Request ${error.requestId}` : "";
  part("dismiss").addEventListener("click", () => notice.remove());
  area.replaceChildren(notice);
  notice.scrollIntoView({ block: "nearest" });
}

function text(value) {
  return typeof value === "string" ? value : "";
}
