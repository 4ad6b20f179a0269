// A picture that is dropped is sent at once; what is too large is said before it is sent. Without this file the form works as it stands.
const form = document.querySelector("form.send");
if (form) {
  const file = form.elements.picture, zone = form.querySelector("[data-drop]");
  const trouble = form.querySelector("[data-trouble]"), button = form.querySelector("[data-busy]");
  form.querySelector("[data-hint]").hidden = false;

  function problem() {
    const [picture] = file.files, most = Number(form.dataset.maxBytes);
    const megabytes = (count) => Math.round(count / 1048576);
    if (picture && picture.size > most) return `The picture has ${megabytes(picture.size)} MB; at most ${megabytes(most)} are restored at once.`;
    if (!picture && !form.elements.key?.value.trim()) return "Choose a picture first.";
    if (picture && form.elements.key?.value.trim()) return "Choose one picture: a file, or the key of an object.";
    return "";
  }
  function told(text) {
    trouble.textContent = text;
    trouble.hidden = !text;
    return !text;
  }
  file.addEventListener("change", () => told(file.files.length ? problem() : ""));
  form.addEventListener("submit", (event) => {
    if (!told(problem())) return event.preventDefault();
    button.textContent = button.dataset.busy;
    setTimeout(() => { button.disabled = true; });
  });
  for (const kind of ["dragenter", "dragover"]) zone.addEventListener(kind, (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  for (const kind of ["dragleave", "drop"]) zone.addEventListener(kind, () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    const { files } = event.dataTransfer;
    if (!files.length) return;
    if (files.length > 1) return told(`${files.length} files were dropped; drop one.`);
    file.files = files;
    form.requestSubmit();
  });
  // The page comes back from the browser's memory as it was left.
  addEventListener("pageshow", () => { button.disabled = false; button.textContent = "Restore it"; });
  document.querySelector(".choose input").addEventListener("change", (event) => event.target.form.requestSubmit());
}
