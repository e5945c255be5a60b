// Equations that are wider than a narrow screen scroll in their own frame; make it reachable by keyboard.
window.addEventListener("load", () => {
  const ready = window.MathJax && MathJax.startup ? MathJax.startup.promise : Promise.resolve();
  ready.then(() => {
    for (const equation of document.querySelectorAll('mjx-container[display="true"]')) {
      if (equation.scrollWidth > equation.clientWidth) equation.tabIndex = 0;
    }
  });
});
