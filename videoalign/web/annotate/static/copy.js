/* The invitations page: the new link is selected, and a button copies it where the browser lets a page do so. */

const link = document.getElementById("link");
const copy = document.getElementById("copy");

link.select();
copy.hidden = !navigator.clipboard;
copy.addEventListener("click", async () => {
  await navigator.clipboard.writeText(link.value);
  copy.textContent = "Copied";
});
