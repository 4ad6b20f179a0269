// A job as it goes on: its events arrive one by one; its log is asked for while it runs.
const live = document.querySelector(".live");
const logText = document.querySelector("[data-log-text]");
const events = document.querySelector("[data-events]");

async function readLog() {
  const answer = await fetch(live.dataset.log, { credentials: "same-origin" });
  if (!answer.ok) return;
  const text = await answer.text();
  const atEnd = logText.scrollTop + logText.clientHeight >= logText.scrollHeight - 8;
  logText.textContent = text || "Nothing printed yet.";
  if (atEnd) logText.scrollTop = logText.scrollHeight;
}

function show(event) {
  const told = JSON.parse(event.data);
  if (!events.querySelector(`[data-id="${told.id}"]`)) {
    const line = document.createElement("li");
    line.dataset.id = told.id;
    const [when, what] = [document.createElement("time"), document.createElement("b")];
    when.textContent = new Date(told.time).toLocaleTimeString();
    what.textContent = told.kind;
    line.append(when, " ", what, ` ${(told.data.phase || "").toLowerCase()}`);
    events.append(line);
  }
  const state = live.querySelector("[data-field=state]");
  const badge = document.createElement("span");
  badge.className = `state ${told.data.state.toLowerCase()}`;
  badge.textContent = told.data.state.toLowerCase();
  state.replaceChildren(badge);
  live.querySelector("[data-field=phase]").textContent = (told.data.phase || "").toLowerCase();
  live.querySelector("progress").value = told.data.progress_percent;
  if (["SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"].includes(told.data.state)) location.reload();
}

readLog();
if (live.dataset.done === "0") {
  const stream = new EventSource(live.dataset.stream);
  for (const state of ["QUEUED", "PROVISIONING", "RUNNING", "RECOVERING", "CANCELLING", "SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"])
    stream.addEventListener(`job.${state}`, show);
  setInterval(readLog, 3000);
}
