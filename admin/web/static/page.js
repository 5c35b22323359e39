"use strict";
// All pages work without this. It fills in the code of a login link, refreshes the overview in
// place, and copies a command.

const byId = (id) => document.getElementById(id);

function takeCode() {
  const code = byId("code");
  if (!code || location.hash.length < 2) return;
  code.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname); // out of the address bar and the history
  code.form.querySelector("button").focus();
}
takeCode();
addEventListener("hashchange", takeCode);

const copy = byId("copy");
if (copy && navigator.clipboard) {
  copy.hidden = false;
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(byId("line").textContent);
    copy.textContent = "Copied";
  });
}

const live = byId("live");
if (live) {
  const filter = byId("filter");
  const pause = byId("pause");
  let timer = 0;
  let latest = 0;
  const paused = () => pause.getAttribute("aria-pressed") === "true";

  const later = (ms) => {
    clearTimeout(timer);
    if (!paused() && !document.hidden) timer = setTimeout(refresh, ms);
  };

  async function refresh() {
    const mine = ++latest;
    let fresh = false;
    try {
      const query = new URLSearchParams(new FormData(filter));
      const answer = await fetch("/live?" + query);
      if (answer.status === 401) return location.assign("/login");
      const text = await answer.text();
      if (mine !== latest) return; // another was begun meanwhile
      fresh = answer.ok;
      // what is being selected, to copy it, stays
      if (fresh && getSelection().isCollapsed) live.innerHTML = text;
    } catch {} // the hub may be restarting
    live.classList.toggle("stale", !fresh);
    later(2000);
  }

  pause.hidden = false;
  byId("find").hidden = true; // what is typed is sought at once
  pause.addEventListener("click", () => {
    pause.setAttribute("aria-pressed", String(!paused()));
    pause.textContent = paused() ? "Resume" : "Pause";
    later(0);
  });
  document.addEventListener("visibilitychange", () => later(0));
  filter.addEventListener("input", () => {
    history.replaceState(null, "", "/?" + new URLSearchParams(new FormData(filter)));
    clearTimeout(timer);
    timer = setTimeout(refresh, 200);
  });
  later(1000);
}
