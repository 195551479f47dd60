// Keys and copying, on every page. Nothing here is needed to read one.
"use strict";
(function () {
  var find = document.getElementById("find");
  function typing(target) {
    return target.isContentEditable || /^(INPUT|SELECT|TEXTAREA|CANVAS)$/.test(target.tagName);
  }
  document.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    if (event.key === "/") {
      event.preventDefault();
      find.focus();
    } else if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      var turn = document.querySelector('a[data-key="' + event.key + '"]');
      if (turn) turn.click();
    }
  });
  document.querySelectorAll("[data-copy]").forEach(function (button) {
    if (!navigator.clipboard) return;
    button.hidden = false;
    button.addEventListener("click", function () {
      navigator.clipboard.writeText(button.dataset.copy).then(function () {
        button.textContent = "copied";
      });
    });
  });
})();
