// Decisions on what is withheld, saved as review.csv: see atlas/lookup/review.py.
"use strict";
(function () {
  var body = document.body, fields = [].slice.call(document.querySelectorAll("fieldset"));
  function choice(field) {
    var chosen = field.querySelector("input:checked");
    return chosen ? chosen.value : "";
  }
  function count() {
    var open = fields.filter(function (field) { return field.querySelector("input"); });
    document.getElementById("n").textContent = open.filter(choice).length + " of " + open.length + " decided";
  }
  document.addEventListener("change", function (event) {
    if (event.target.id === "blur") body.classList.toggle("blurred", event.target.checked);
    count();
  });
  document.querySelectorAll("[data-all]").forEach(function (button) {
    button.addEventListener("click", function () {
      button.closest("section").querySelectorAll('input[value="' + button.dataset.all + '"]').forEach(function (input) { input.checked = true; });
      count();
    });
  });
  document.getElementById("save").addEventListener("click", function () {
    var lines = [body.dataset.head].concat(body.dataset.kept ? body.dataset.kept.split("\n") : []);
    fields.filter(choice).forEach(function (field) {
      lines.push([field.dataset.image, field.dataset.key, choice(field)].join(","));
    });
    var link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
    link.download = "review.csv";
    link.click();
  });
  count();
})();
