import { textHead, textTail } from './cut-text.ts'
import { KeywordScanner } from './keyword-scanner.ts'
import { NAME_AND_VALUE, NAMED_SECRETS, type NamedSecret, REST_OF_VALUE, readValue } from './named-secrets.ts'
import type { SecretKind } from './secret-kind.ts'
import { SECRET_KINDS } from './secret-kinds.ts'

/**
 * Removes secrets from a text before it reaches a store, a log, a person or another program, and names the kind of each in
 * its place. Redacting twice changes nothing. Time grows only with the length of the text: 50,000 characters without a space
 * must not block the event loop.
 */
export function redact(text: string): string {
  let rest = text
  // what is taken out may have hidden a secret beside it
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const spans = secretSpans(rest)
    if (spans.length === 0) break
    rest = withoutSpans(rest, spans)
  }
  return rest
}

/** Redacts a text and keeps its beginning: cut first, half a secret would be unknown. */
export function redactedHead(text: string, max: number): string {
  return textHead(redact(text), max)
}

/** Redacts a text and keeps its end. */
export function redactedTail(text: string, max: number): string {
  return textTail(redact(text), max)
}

const ROUNDS_MAX = 4
const MARK = /\[redacted(?: [a-z0-9-]{1,30})?\]/g

interface Span {
  readonly start: number
  readonly end: number
  readonly name: string
  /** Found by its own form, which says more than the name before it. */
  readonly isExact: boolean
}

/** Tokens of S2 are 64 hex digits that nobody calls a digest; two of them may stand side by side. */
const TOKEN_LENGTH = 64
/** After a digest in the output of `sha256sum`: two characters and a file. */
const NAMED_FILE = /^ [ *][\w./-]/
/** What digests are called, right before one. */
const DIGEST_NAME =
  /(?:sha-?(?:2-?)?(?:256|512)|sha3|blake\w{0,3}|digest|checksum|hash|fingerprint|integrity|zh|docker|containerd|cri-o|container|image|layer|commit|tree|etag|pin)(?:sum)?s?(?:[\\"'\])]{0,3}[\s:=(/-]{0,3}(?:W\/)?[\\"'[]{0,3})$/i
/** Two hashes long, and what two tokens are as well. */
const SIGNATURE_NAME = /sig(?:nature)?[\\"']{0,3}[\s:=]{0,3}[\\"']{0,3}$/i

const kindsOf = new Map<string, SecretKind[]>()
const namesOf = new Map<string, NamedSecret>()
for (const kind of SECRET_KINDS)
  for (const keyword of kind.keywords) kindsOf.set(keyword, [...(kindsOf.get(keyword) ?? []), kind])
for (const named of NAMED_SECRETS) for (const keyword of named.keywords) namesOf.set(keyword, named)
const scanner = new KeywordScanner([...kindsOf.keys(), ...namesOf.keys()])

/** Where secrets are, from left to right; none overlaps another or a mark. */
function secretSpans(text: string): Span[] {
  const found = [...spansByKeyword(text), ...sessionTokens(text)]
  if (found.length === 0) return found
  return outsideMarks(joined(found), text)
}

function spansByKeyword(text: string): Span[] {
  const spans: Span[] = []
  /** How far each kind has read: it is not tried again within, or a text of keywords alone would cost its length squared. */
  const readUntil = new Map<SecretKind, number>()
  let exactUntil = 0
  let namedUntil = 0
  for (const { at, keyword } of scanner.hits(text)) {
    if (at < exactUntil) continue
    for (const kind of kindsOf.get(keyword) ?? []) {
      const span = at < (readUntil.get(kind) ?? 0) ? null : exactSpan(text, at, kind, readUntil)
      if (span === null) continue
      spans.push(span)
      if (span.isExact) exactUntil = Math.max(exactUntil, span.end)
    }
    const named = at < namedUntil ? undefined : namesOf.get(keyword)
    const span = named === undefined ? null : namedSpan(text, at, keyword, named)
    if (span === null) continue
    spans.push(span)
    namedUntil = span.end
  }
  return spans
}

function exactSpan(text: string, at: number, kind: SecretKind, readUntil: Map<SecretKind, number>): Span | null {
  const { name, pattern, accepts, isBroad } = kind
  pattern.lastIndex = at
  const match = pattern.exec(text)
  if (match === null) return null
  const secret = match.groups?.secret ?? match[0]
  const end = at + match[0].length
  readUntil.set(kind, end)
  return accepts(secret) ? { start: end - secret.length, end, name, isExact: !isBroad } : null
}

function namedSpan(text: string, at: number, keyword: string, { name, accepts }: NamedSecret): Span | null {
  NAME_AND_VALUE.lastIndex = at + keyword.length
  const match = NAME_AND_VALUE.exec(text)
  if (match === null) return null
  const written = readValue(match)
  const value = written.isDelimited ? written.value : written.value.replace(/[)\]}>.:]+$/, '')
  if (!accepts(value, written)) return null
  const matchEnd = at + keyword.length + match[0].length
  const start = matchEnd - written.value.length
  REST_OF_VALUE.lastIndex = start + value.length
  const isWhole = value.length < written.value.length
  const rest = isWhole ? 0 : (REST_OF_VALUE.exec(text)?.[0].length ?? 0)
  return { start, end: start + value.length + rest, name, isExact: false }
}

/** A run of 64 holds every 64th character of the text once, so only those are looked at, and the runs around them. */
function sessionTokens(text: string): Span[] {
  const spans: Span[] = []
  for (let at = TOKEN_LENGTH - 1; at < text.length; at += TOKEN_LENGTH) {
    if (!isHex(text, at)) continue
    let start = at
    while (at - start < TOKEN_LENGTH && isHex(text, start - 1)) start -= 1
    if (at - start === TOKEN_LENGTH) continue
    let end = at + 1
    while (end - start <= 2 * TOKEN_LENGTH && isHex(text, end)) end += 1
    const isToken = end - start === TOKEN_LENGTH || end - start === 2 * TOKEN_LENGTH
    if (isToken && !isDigest(text, start, end)) spans.push({ start, end, name: 'session-token', isExact: true })
  }
  return spans
}

function isHex(text: string, at: number): boolean {
  const code = text.charCodeAt(at) // NaN beyond the ends
  return (code >= 48 && code <= 57) || (code >= 97 && code <= 102) || (code >= 65 && code <= 70)
}

function isDigest(text: string, start: number, end: number): boolean {
  const before = text.slice(Math.max(0, start - 24), start)
  if (end - start > TOKEN_LENGTH && SIGNATURE_NAME.test(before)) return true
  return DIGEST_NAME.test(before) || NAMED_FILE.test(text.slice(end, end + 3))
}

/** Spans that overlap as one, named by a form that is exact, or else by the name that stands nearest. */
function joined(found: Span[]): Span[] {
  found.sort((x, y) => x.start - y.start)
  const spans: Span[] = []
  for (const span of found) {
    const last = spans.at(-1)
    if (last === undefined || span.start >= last.end) {
      spans.push(span)
      continue
    }
    const better = last.isExact ? last : span
    spans[spans.length - 1] = { ...better, start: last.start, end: Math.max(last.end, span.end) }
  }
  return spans
}

/** Marks stay as they are: what a span has of one is left out of it. */
function outsideMarks(spans: readonly Span[], text: string): Span[] {
  if (!text.includes('[redacted')) return [...spans]
  const marks = [...text.matchAll(MARK)].map(({ 0: mark, index }) => ({ start: index, end: index + mark.length }))
  const left: Span[] = []
  let next = 0
  for (const span of spans) {
    let start = span.start
    while (next < marks.length && (marks[next]?.end ?? 0) <= start) next += 1
    for (let at = next; at < marks.length; at += 1) {
      const mark = marks[at]
      if (mark === undefined || mark.start >= span.end) break
      if (mark.start > start) left.push({ ...span, start, end: mark.start })
      start = Math.max(start, mark.end)
    }
    if (start < span.end) left.push({ ...span, start })
  }
  return left
}

function withoutSpans(text: string, spans: readonly Span[]): string {
  const parts: string[] = []
  let from = 0
  for (const { start, end, name } of spans) {
    parts.push(text.slice(from, start), `[redacted ${name}]`)
    from = end
  }
  parts.push(text.slice(from))
  return parts.join('')
}
