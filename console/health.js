/** How the services are: `/readyz`, asked again and again while somebody looks. */

const INTERVAL_MS = 30_000;

/** Fill the header's health line now, and every half minute while the page is visible. */
export function watchHealth() {
  const look = () => {
    if (document.visibilityState === "visible") void refresh();
  };
  document.addEventListener("visibilitychange", look);
  setInterval(look, INTERVAL_MS);
  look();
}

async function refresh() {
  const summary = document.getElementById("health-summary");
  const list = document.getElementById("health-list");
  const response = await fetch("/readyz", { cache: "no-store", credentials: "omit" }).catch(() => null);
  const isReady = response?.ok ?? false;
  const states = readStates(await response?.json().catch(() => null));
  const missing = states.filter((state) => !state.isReady).map((state) => state.name);
  let line = "Ready";
  if (!response) line = "The server does not answer";
  else if (!isReady) line = missing.length ? `Not ready: ${missing.join(", ")}` : "Not ready";
  if (summary.textContent !== line) summary.textContent = line;
  summary.dataset.state = isReady ? "ready" : "away";
  list.replaceChildren(...states.map(chip));
}

/** One row per service: `{name, isReady, missing}`, the last the names of the checks that failed. */
function readStates(body) {
  return Object.entries(body?.services ?? {}).map(([name, state]) => ({
    name,
    isReady: state.ready === true,
    missing: Object.entries(state.checks ?? {})
      .filter(([, check]) => check.ready !== true)
      .map(([check]) => check),
  }));
}

function chip({ name, isReady, missing }) {
  const item = document.createElement("li");
  item.className = isReady ? "ready" : "away";
  if (isReady) item.textContent = `${name} ready`;
  else item.textContent = missing.length ? `${name} lacks ${missing.join(", ")}` : `${name} is away`;
  return item;
}
