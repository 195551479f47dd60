// Keys and copying, on every page. Nothing here is needed to read one.
"use strict";
// Where the picture of row i of the table of features lies; empty where there is none.
window.atlasIcon = function (root, table, i) {
  var number = table.icon[i], feature = table.feature[i];
  if (number === -1) return "";
  if (number === -2) return root + "/icon/" + Math.floor(feature / 1000) + "/" + feature + ".webp";
  return root + "/thumb/" + Math.floor(number / 1000) + "/" + number + ".webp";
};
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
  // A strip of doses becomes one picture and a slider; without scripts the strip stays.
  document.querySelectorAll(".knob").forEach(function (knob) {
    var cells = knob.querySelectorAll("td"), steps = +knob.dataset.steps;
    var dial = document.createElement("label"), input = document.createElement("input");
    var output = document.createElement("output"), mass = document.createElement("b");
    function show() {
      for (var i = 0; i < steps; i++) knob.classList.toggle("at-" + i, i === +input.value);
      var gain = cells[+input.value].textContent;
      mass.textContent = cells[steps + +input.value].textContent;
      output.replaceChildren(gain + ", mass ", mass);
      input.setAttribute("aria-valuetext", gain + ", mass " + mass.textContent);
    }
    input.type = "range";
    input.min = 0;
    input.max = steps - 1;
    input.value = (steps - 1) / 2;
    input.setAttribute("aria-label", "Strength of " + knob.querySelector("figcaption").textContent);
    input.addEventListener("input", show);
    dial.className = "dial";
    dial.append(input, output);
    knob.append(dial);
    knob.classList.add("live");
    show();
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
