// Parts of a page that change while one looks: they are asked for again every few seconds, as the server renders them.
// A part that has nothing more to say loses its attribute, and this ends.
const due = [...document.querySelectorAll("[data-refresh]")];
let pause = Math.min(...due.map((part) => Number(part.dataset.refresh))) * 1000;
const usual = pause;

async function refresh() {
  if (!document.hidden) {
    try {
      const answer = await fetch(location.href, { credentials: "same-origin", redirect: "manual" });
      if (answer.type === "opaqueredirect") return location.reload(); // the session has ended
      if (!answer.ok) throw new Error(answer.status);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      pause = usual;
      let more = false;
      for (const part of document.querySelectorAll("[data-refresh]")) {
        const now = fresh.getElementById(part.id);
        if (!now) continue;
        if (!("refresh" in now.dataset)) {
          if ("whole" in part.dataset) return location.reload(); // an end changes the rest of the page, too
          delete part.dataset.refresh;
        } else more = true;
        const used = part.contains(document.activeElement) && document.activeElement !== document.body;
        if (!used && part.innerHTML !== now.innerHTML) part.replaceChildren(...now.childNodes);
      }
      document.dispatchEvent(new Event("refreshed"));
      if (!more) return;
    } catch {
      pause = Math.min(60000, pause * 2); // away, or asked too often
    }
  }
  setTimeout(refresh, pause);
}
if (due.length) setTimeout(refresh, pause);
