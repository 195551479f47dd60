// What the points of the map are colored by, and what the colors mean.
"use strict";
(function () {
  var STEPS = 5;
  // From pale to strong on light paper, from dim to bright on dark.
  function scale(t, light) { return hsl(18, 25 + 50 * t, light ? 78 - 43 * t : 26 + 42 * t); }
  // A color as red, green and blue, 0 to 255.
  function hsl(hue, percent, lightness) {
    var s = percent / 100, l = lightness / 100, reach = s * Math.min(l, 1 - l);
    return [0, 8, 4].map(function (n) {
      var k = (n + hue / 30) % 12;
      return Math.round(255 * (l - reach * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
    });
  }
  function css(color) { return "rgb(" + color.join(",") + ")"; }
  function faint(light) { return hsl(40, 8, light ? 80 : 28); }
  // By equal shares of the features: each step of the scale colors as many.
  function ranked(values, say) {
    var held = values.filter(function (value) { return value >= 0; }).sort(function (a, b) { return a - b; });
    var edges = Array.from({ length: STEPS - 1 }, function (_, i) { return held[Math.floor((i + 1) * held.length / STEPS)]; });
    return {
      of: function (i, light) {
        if (values[i] < 0) return faint(light);
        var step = edges.filter(function (edge) { return values[i] >= edge; }).length;
        return scale(step / (STEPS - 1), light);
      },
      legend: function (light) {
        return Array.from({ length: STEPS }, function (_, step) {
          var words = step === 0 ? "under " + say(edges[0]) : step === STEPS - 1 ? say(edges[step - 1]) + " and more" : say(edges[step - 1]) + " to " + say(edges[step]);
          return [css(scale(step / (STEPS - 1), light)), words];
        });
      },
    };
  }
  var VERDICTS = [["no", [176, 122, 96]], ["partly", [214, 170, 60]], ["yes", [52, 118, 168]]];
  window.atlasColors = {
    words: { often: "how often it fires", icon: "icon recognized", alike: "how alike its pictures are", family: "family" },
    // How features are colored by one of these words.
    by: function (key, table, measures) {
      if (key === "often") return ranked(table.density, function (value) { return +(100 * value).toPrecision(2) + "%"; });
      if (key === "alike") return ranked(measures.alike, function (value) { return value.toFixed(2); });
      if (key === "icon") return {
        of: function (i, light) { return measures.verdict[i] < 0 ? faint(light) : VERDICTS[measures.verdict[i]][1]; },
        legend: function () { return VERDICTS.map(function (one) { return [css(one[1]), one[0]]; }).reverse(); },
      };
      return {
        of: function (i, light) {
          var family = measures.family[i];
          return family < 0 ? faint(light) : hsl(family * 137.508 % 360, 50, (light ? 42 : 58) + 6 * (family % 3));
        },
        legend: function () { return []; },
      };
    },
  };
})();
