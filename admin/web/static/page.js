"use strict";
// All pages work without this. It fills in the code of a login link, refreshes the overview in
// place, and copies a command.

const byId = (id) => document.getElementById(id);

// A code stays neither in the address bar nor in the history, on whatever page a link ends up.
function takeCode() {
  const found = /^#([A-Za-z0-9_-]{43})$/.exec(location.hash);
  if (!found) return;
  history.replaceState(null, "", location.pathname + location.search);
  const code = byId("code");
  if (!code) return;
  code.value = found[1];
  code.form.querySelector("button").focus();
}
takeCode();
addEventListener("hashchange", takeCode); // a new link that is opened on the page of the login

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
  const stale = byId("stale");
  let timer = 0;
  let latest = 0;
  const paused = () => pause.getAttribute("aria-pressed") === "true";

  const later = (ms) => {
    clearTimeout(timer);
    if (!paused() && !document.hidden) timer = setTimeout(refresh, ms);
  };

  // say shows why what is shown is not of now; "" if it is.
  const say = (why) => {
    live.classList.toggle("stale", why !== "");
    if (stale.textContent !== why) stale.textContent = why;
  };

  async function refresh() {
    const mine = ++latest;
    let why = "The hub does not answer; this is how it was.";
    try {
      const query = new URLSearchParams(new FormData(filter));
      const answer = await fetch("live?" + query, { signal: AbortSignal.timeout(5000) });
      if (answer.status === 401) return location.assign("/login");
      const text = await answer.text();
      if (mine !== latest) return; // another was begun meanwhile
      if (answer.ok && !getSelection().isCollapsed) why = "Stands still while text is selected.";
      else if (answer.ok) {
        why = "";
        live.innerHTML = text;
      }
    } catch {} // the hub may be restarting
    if (mine === latest) say(why);
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
    history.replaceState(null, "", "?" + new URLSearchParams(new FormData(filter)));
    clearTimeout(timer);
    timer = setTimeout(refresh, 200);
  });
  later(1000);
}
