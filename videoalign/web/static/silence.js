/*
 * Clips without their sound track. Players are muted, but a clip with sound still goes by the clock of its sound, which
 * slips where the computer is busy and obeys a change of speed late; without it both clips go by the same clock.
 */

const LARGEST = 256 * 2 ** 20; // bytes; a longer clip is played as it is, while it loads
const FREE = 0x66726565; // "free"
const HEADER = 8; // bytes of the size and the type that begin a box of an MP4 file

/** The boxes of an MP4 file between two places: `{ type, at, begin, end }`, `at` being where the type is written. */
function* boxes(bytes, begin, end) {
  while (begin + HEADER <= end) {
    let size = bytes.getUint32(begin);
    let inside = begin + HEADER;
    if (size === 1) {
      size = Number(bytes.getBigUint64(begin + HEADER));
      inside += 8;
    }
    if (size === 0) size = end - begin;
    if (size < HEADER || begin + size > end) return;
    yield { type: text(bytes, begin + 4), at: begin + 4, begin: inside, end: begin + size };
    begin += size;
  }
}

function text(bytes, at) {
  return String.fromCharCode(...Array.from({ length: 4 }, (_, k) => bytes.getUint8(at + k)));
}

function find(bytes, type, within) {
  for (const box of boxes(bytes, within.begin, within.end)) if (box.type === type) return box;
  return null;
}

/** Whether a track is of sound: its media box has a handler box, whose kind stands behind 8 bytes. */
function isSound(bytes, track) {
  const media = find(bytes, "mdia", track);
  const handler = media && find(bytes, "hdlr", media);
  return handler !== null && text(bytes, handler.begin + 8) === "soun";
}

/** Marks every sound track of an MP4 file as unused space; a file in fragments, or of another kind, stays as it is. */
export function silence(buffer) {
  const bytes = new DataView(buffer);
  const movie = find(bytes, "moov", { begin: 0, end: buffer.byteLength });
  if (!movie || find(bytes, "mvex", movie)) return;
  for (const box of boxes(bytes, movie.begin, movie.end)) {
    if (box.type === "trak" && isSound(bytes, box)) bytes.setUint32(box.at, FREE);
  }
}

/** An address to play a clip from without its sound; the clip's own where it cannot be had that way. */
export async function silentAddress(url) {
  try {
    const response = await fetch(url);
    if (!response.ok || Number(response.headers.get("content-length")) > LARGEST) return url;
    const buffer = await response.arrayBuffer();
    silence(buffer);
    return URL.createObjectURL(new Blob([buffer], { type: response.headers.get("content-type") }));
  } catch {
    return url;
  }
}
