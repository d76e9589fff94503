// Renews a page that says how often: fetches the same address and takes over what is in <main>, the
// banners and the title. Focus and place stay; while somebody types nothing moves. If the server is
// gone the page stays as it is, and its style reveals how old it is.
"use strict";

(() => {
  const refreshMs = Number(document.body.dataset.refreshS) * 1000;
  if (!refreshMs) return;
  const KEPT = ["banners", "main"];
  let isAsking = false;

  const isTyping = () =>
    ["INPUT", "SELECT", "TEXTAREA"].includes(document.activeElement?.tagName);

  const openDetails = (root) =>
    [...root.querySelectorAll("details[open][id]")].map((one) => one.id);

  function takeOver(fresh) {
    const focused = document.activeElement?.id;
    const [left, top] = [window.scrollX, window.scrollY];
    const open = openDetails(document);
    for (const id of KEPT) {
      const [old, made] = [document.getElementById(id), fresh.getElementById(id)];
      if (!old || !made) continue;
      // What is read aloud is only changed where its words have changed.
      if (id === "banners") takeOverBanners(old, made);
      else old.replaceChildren(...made.childNodes);
    }
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    document.title = fresh.title;
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    window.scrollTo(left, top);
  }

  function takeOverBanners(old, made) {
    const [was, is] = [old.querySelector(".ill"), made.querySelector(".ill")];
    if (was.textContent !== is.textContent) was.replaceChildren(...is.childNodes);
    old.querySelector(".stale").replaceWith(made.querySelector(".stale")); // its clock starts anew
  }

  async function renew() {
    if (isAsking || isTyping() || document.hidden) return;
    isAsking = true;
    try {
      const answer = await fetch(location.href, {
        headers: { Accept: "text/html" },
        signal: AbortSignal.timeout(Math.max(refreshMs, 5000)),
      });
      if (answer.redirected) location.reload(); // a login that has ended
      else if (answer.ok && !isTyping())
        takeOver(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch {
      // The page says by itself that it is old.
    } finally {
      isAsking = false;
    }
  }

  setInterval(renew, refreshMs);
  document.addEventListener("visibilitychange", renew);
})();
