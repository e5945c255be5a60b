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
