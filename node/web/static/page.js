// Renews a page that says how often: fetches the same address and takes over what is in <main>, the
// banners and the title. Focus, place and what was typed stay; while somebody types nothing moves.
// If the server is gone the page stays as it is, and its style reveals how old it is.
"use strict";

(() => {
  const refreshMs = Number(document.body.dataset.refreshS) * 1000;
  if (!refreshMs) return;
  const QUIET_MS = 3000; // somebody who has not touched a field for so long does not type
  const FIELDS = "#main input:not([type=hidden]), #main select";
  let isAsking = false;
  let touchedAt = -Infinity;

  const isTyping = () => performance.now() - touchedAt < QUIET_MS;

  for (const event of ["input", "keydown", "pointerdown", "compositionupdate"])
    document.addEventListener(event, ({ target }) => {
      if (target.matches?.(FIELDS)) touchedAt = performance.now();
    });

  function takeOver(fresh) {
    const focused = document.activeElement;
    const selection = [focused?.selectionStart, focused?.selectionEnd];
    const [left, top] = [window.scrollX, window.scrollY];
    const typed = [...document.querySelectorAll(FIELDS)].map((one) => [one.id, one.value]);
    const main = document.getElementById("main");
    main.replaceChildren(...fresh.getElementById("main").childNodes);
    takeOverBanners(fresh);
    document.title = fresh.title;
    for (const [id, value] of typed) {
      const field = document.getElementById(id);
      if (field) field.value = value;
    }
    if (focused?.id && !focused.isConnected) {
      const again = document.getElementById(focused.id);
      again?.focus({ preventScroll: true });
      if (selection[0] != null) again?.setSelectionRange?.(...selection);
    }
    window.scrollTo(left, top);
  }

  function takeOverBanners(fresh) {
    const banner = (root, name) => root.querySelector(`#banners .${name}`);
    // What is read aloud changes only where its words have changed.
    const [was, is] = [banner(document, "ill"), banner(fresh, "ill")];
    if (was.textContent !== is.textContent) was.replaceChildren(...is.childNodes);
    banner(document, "stale").replaceWith(banner(fresh, "stale")); // its clock starts anew
  }

  async function renew() {
    if (isAsking || document.hidden || isTyping()) return;
    isAsking = true;
    try {
      const answer = await fetch(location.href, {
        headers: { Accept: "text/html" },
        signal: AbortSignal.timeout(Math.max(refreshMs, 5000)),
      });
      if (answer.redirected || answer.status === 401) location.reload(); // a login that has ended
      else if (answer.ok) {
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        if (!isTyping()) takeOver(fresh);
      }
    } catch {
      // The page says by itself that it is old.
    } finally {
      isAsking = false;
    }
  }

  setInterval(renew, refreshMs);
  document.addEventListener("visibilitychange", renew);
})();
