// A link into a fold opens it.
(() => {
  const unfold = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const folds = [];
    for (let at = target; at; at = at.parentElement) if (at.localName === "details") folds.push(at);
    if (folds.every((fold) => fold.open)) return;
    for (const fold of folds) fold.open = true;
    target.scrollIntoView();
  };
  window.addEventListener("hashchange", unfold);
  window.addEventListener("DOMContentLoaded", unfold);
})();
// Paper has no folds: everything is open while the page is printed.
(() => {
  window.addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details:not([open])")) {
      details.open = true;
      details.dataset.bbPrinted = "";
    }
  });
  window.addEventListener("afterprint", () => {
    for (const details of document.querySelectorAll("details[data-bb-printed]")) {
      details.open = false;
      delete details.dataset.bbPrinted;
    }
  });
})();
