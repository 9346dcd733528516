// Sorts a table by the column whose heading is clicked: numbers from the highest, text from A to Z.
// A second click reverses the order. Rows without a value ("-") stay at the end.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const body = table.tBodies[0];
      const text = row => row.cells[column].textContent;
      const [missing, there] = [[], []];
      for (const row of body.rows) (text(row) === "-" ? missing : there).push(row);
      const numbers = there.every(row => text(row).trim() !== "" && !isNaN(text(row)));
      const first = numbers ? "descending" : "ascending";
      const second = numbers ? "ascending" : "descending";
      const order = heading.getAttribute("aria-sort") === first ? second : first;
      const compared = (one, other) => numbers
        ? text(one) - text(other)
        : text(one).localeCompare(text(other), undefined, {numeric: true});
      there.sort((one, other) => order === "ascending" ? compared(one, other) : compared(other, one));
      for (const each of headings) each.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", order);
      body.append(...there, ...missing);
    });
  });
}
