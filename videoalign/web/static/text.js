/* Texts that people type or paste. */

// Halves of characters, control characters other than tabs and line breaks, and marks that turn the direction of text.
const UNFIT = /(?![\t\n\r])[\p{Cc}\p{Cs}\u202a-\u202e\u2066-\u2069]/gu;

/** A text without the characters that the server does not take; none of them can be seen. */
export function plain(text) {
  return text.replace(UNFIT, "").trim();
}
