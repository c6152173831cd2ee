import { S2Error } from './errors.ts'

/**
 * A sequence with gaps: between two pieces anything may stand, or nothing. Without a gap it has one piece. A text is one of
 * characters, and a path is one of such texts.
 */
type Gapped<E> = readonly ArrayLike<E>[]

/** A part of a path between slashes: folded texts, between which anything may stand. */
export type Segment = readonly string[]

/** Which paths of a repository are meant. Capital letters are those of small ones, because there are file systems where they are. */
export interface PathGlob {
  /** As it is kept and shown: without `./`, doubled slashes and the like. */
  readonly text: string
  readonly path: Gapped<Segment>
}

/** Characters of a glob. */
export const GLOB_MAX = 200

/**
 * Reads a glob: `*` and `?` stand for characters within a name, `**` as a whole name for folders, a backslash takes its meaning
 * from the character behind it. A name without an extension at the end, and one with a slash behind it, is a folder too, with all
 * that lies beneath. Throws `invalid` for other signs, which would be understood otherwise by whoever wrote them.
 */
export function parseGlob(text: string): PathGlob {
  if (text.length > GLOB_MAX || text.includes('\0')) throw notAGlob(text, `it has more than ${GLOB_MAX} characters`)
  if (text.startsWith('/')) throw notAGlob(text, 'it is not relative to the repository')
  const names = text.split('/').filter((name) => name !== '' && name !== '.')
  if (names.includes('..')) throw notAGlob(text, 'it leads out of its folder')
  if (text.endsWith('/') && names.at(-1) !== '**') names.push('**')
  if (names.length === 0) names.push('**')
  const isFolderToo = names.at(-1) !== '**' && !names.at(-1)?.slice(1).includes('.')
  const segments = names.map((name) => (name === '**' ? null : segmentOf(name, text)))
  return { text: names.join('/'), path: split(isFolderToo ? [...segments, null] : segments) }
}

/** A path as a glob that means it alone, or with all beneath where it is a folder. */
export function quotePath(path: string): string {
  return path.replaceAll(/[\\*?[{!]/g, '\\$&')
}

/**
 * Whether there is a path that both mean. Never false where there is one. Takes time only with the length of the two, whatever
 * they say: nothing is tried twice.
 */
export function overlap(one: PathGlob, other: PathGlob): boolean {
  return meet(one.path, other.path, (left, right) => meet(left, right, Object.is))
}

/** Names without `**`, in the pieces between those. */
function split(segments: readonly (Segment | null)[]): Segment[][] {
  const pieces: Segment[][] = [[]]
  for (const segment of segments) {
    if (segment === null) pieces.push([])
    else pieces.at(-1)?.push(segment)
  }
  return pieces
}

/** The pieces of a name between its stars. A question mark is taken as a star: what one character is depends on who counts. */
function segmentOf(name: string, whole: string): Segment {
  const pieces = ['']
  for (const [sign] of name.matchAll(/\\?./gsu)) {
    if (sign === '*' || sign === '?') pieces.push('')
    else if (/^[[{!]$/.test(sign)) throw notAGlob(whole, `it has the sign ${sign}`)
    else if (sign === '\\') throw notAGlob(whole, 'it ends with a backslash')
    else pieces[pieces.length - 1] += sign.length > 1 && sign.startsWith('\\') ? sign.slice(1) : sign
  }
  return pieces.map(foldName)
}

/**
 * Letters that some file systems take for one: of two cases, and of one piece or two. Each is folded by itself and in its pieces (NFD,
 * UAX 15), so that a beginning stays one whatever follows: an accent joins the letter before it, and a sigma has a small letter of its own at
 * the end of a word.
 */
export function foldName(text: string): string {
  if (/^[\0-\x7f]*$/.test(text)) return text.toLowerCase()
  const letters = [...text.normalize('NFD')].map((each) => each.toLowerCase())
  return letters.join('').normalize('NFD')
}

/** Whether a part of a glob means a folded name: as `overlap`, by what the engine has for texts. */
export function isMeant(segment: Segment, name: string): boolean {
  const [head = '', tail = head] = [segment[0], segment.at(-1)]
  if (segment.length === 1) return name === head
  const end = name.length - tail.length
  let at = head.length
  if (at > end || !name.startsWith(head) || !name.endsWith(tail)) return false
  for (let index = 1; index < segment.length - 1; index += 1) {
    const piece = segment[index] as string
    const found = name.indexOf(piece, at)
    if (found < 0 || found + piece.length > end) return false
    at = found + piece.length
  }
  return true
}

/** Whether one sequence can be both, where `fits` says so of two elements. */
function meet<E>(one: Gapped<E>, other: Gapped<E>, fits: Fits<E>): boolean {
  if (one.length === 1 && other.length === 1)
    return first(one).length === first(other).length && isHead(one, other, fits)
  if (one.length === 1) return occurs(other, first(one), fits)
  if (other.length === 1) return occurs(one, first(other), fits)
  return isHead(one, other, fits) && isTail(one, other, fits) // what lies between fits into a gap of the other
}

type Fits<E> = (left: E, right: E) => boolean

function first<E>(gapped: Gapped<E>): ArrayLike<E> {
  return gapped[0] ?? []
}

function last<E>(gapped: Gapped<E>): ArrayLike<E> {
  return gapped.at(-1) ?? []
}

function isHead<E>(one: Gapped<E>, other: Gapped<E>, fits: Fits<E>): boolean {
  const [left, right] = [first(one), first(other)]
  return fitsAt(left, right, 0, 0, Math.min(left.length, right.length), fits)
}

function isTail<E>(one: Gapped<E>, other: Gapped<E>, fits: Fits<E>): boolean {
  const [left, right] = [last(one), last(other)]
  const length = Math.min(left.length, right.length)
  return fitsAt(left, right, left.length - length, right.length - length, length, fits)
}

/** Whether a sequence without gaps is one of those with gaps: each piece is looked for once, from left to right. */
function occurs<E>(gapped: Gapped<E>, whole: ArrayLike<E>, fits: Fits<E>): boolean {
  const end = whole.length - last(gapped).length
  let at = first(gapped).length
  if (at > end || !isHead(gapped, [whole], fits) || !isTail(gapped, [whole], fits)) return false
  for (const piece of gapped.slice(1, -1)) {
    while (at + piece.length <= end && !fitsAt(piece, whole, 0, at, piece.length, fits)) at += 1
    at += piece.length
    if (at > end) return false
  }
  return true
}

function fitsAt<E>(
  left: ArrayLike<E>,
  right: ArrayLike<E>,
  leftAt: number,
  rightAt: number,
  length: number,
  fits: Fits<E>,
): boolean {
  for (let index = 0; index < length; index += 1) {
    if (!fits(left[leftAt + index] as E, right[rightAt + index] as E)) return false
  }
  return true
}

function notAGlob(text: string, why: string): S2Error {
  return new S2Error('invalid', `${JSON.stringify(text.slice(0, GLOB_MAX))} names no files of a repository: ${why}`, {
    next: 'write it like src/store/, src/**/*.ts or docs/plan.md; \\[ stands for the character itself',
  })
}
