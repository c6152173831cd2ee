/**
 * JSON with comments and trailing commas, read with the place of each value, so that a file of a person can be changed without a letter
 * of the rest. Settings of Claude Code, Gemini CLI and opencode are such files.
 */
export type JsonNode =
  | { readonly kind: 'object'; readonly start: number; readonly end: number; readonly members: readonly JsonMember[] }
  | { readonly kind: 'array'; readonly start: number; readonly end: number; readonly items: readonly JsonNode[] }
  | { readonly kind: 'plain'; readonly start: number; readonly end: number; readonly value: unknown }

export interface JsonMember {
  readonly key: string
  /** Where the key begins. */
  readonly start: number
  readonly value: JsonNode
}

/** A text is not JSON, or not in the form that it is to be changed in; `at` is where it stops to be, in characters. */
export class JsonError extends Error {
  override readonly name = 'JsonError'
  readonly at: number

  constructor(at: number, why = 'is not JSON') {
    super(why)
    this.at = at
  }
}

const DEPTH_MAX = 100
/** Runs of characters are taken in one: each turn of a group takes room, which a file of megabytes would use up. */
const GAP = /[ \t\r\n]+|\/\/[^\n]*|\/\*[\s\S]*?\*\//y
const CHARACTERS = /(?:[^"\\\n]+|\\.){1,1000}/y
const WORD = /[-\w.+]+/y

/** The tree of a whole text. Throws JsonError. */
export function readJsonTree(text: string): JsonNode {
  const reader = new Reader(text)
  const node = reader.value(0)
  reader.gap()
  if (reader.at < text.length) throw new JsonError(reader.at)
  return node
}

/** The value that a node stands for. */
export function jsonValue(node: JsonNode): unknown {
  if (node.kind === 'plain') return node.value
  if (node.kind === 'array') return node.items.map(jsonValue)
  return Object.fromEntries(node.members.map(({ key, value }) => [key, jsonValue(value)]))
}

/** Where the gap ends that begins here: white space and comments. */
export function afterGap(text: string, at: number): number {
  return endOfRuns(GAP, text, at)
}

/** Where what a pattern means, any number of times, ends that begins here. */
function endOfRuns(pattern: RegExp, text: string, start: number): number {
  let at = start
  pattern.lastIndex = at
  while (pattern.test(text)) at = pattern.lastIndex
  return at
}

/** The end of a string that begins here, or of another plain value; the place itself where none does. */
function endOfPlain(text: string, at: number): number {
  if (text[at] !== '"') return endOfRuns(WORD, text, at)
  const end = endOfRuns(CHARACTERS, text, at + 1)
  return text[end] === '"' ? end + 1 : at
}

class Reader {
  readonly #text: string
  at = 0

  constructor(text: string) {
    this.#text = text
    if (text.startsWith('\ufeff')) this.at = 1
  }

  gap(): void {
    this.at = afterGap(this.#text, this.at)
  }

  value(depth: number): JsonNode {
    this.gap()
    if (depth > DEPTH_MAX) throw new JsonError(this.at)
    const start = this.at
    const char = this.#text[start]
    if (char === '{') {
      const members = this.#listed('}', () => this.#member(depth))
      return { kind: 'object', start, end: this.at, members }
    }
    if (char === '[') {
      const items = this.#listed(']', () => this.value(depth + 1))
      return { kind: 'array', start, end: this.at, items }
    }
    return { kind: 'plain', start, value: this.#plain(), end: this.at }
  }

  #listed<T>(closing: string, read: () => T): T[] {
    this.at += 1
    const found: T[] = []
    for (;;) {
      this.gap()
      if (this.#took(closing)) return found
      found.push(read())
      this.gap()
      if (!this.#took(',') && this.#text[this.at] !== closing) throw new JsonError(this.at)
    }
  }

  #member(depth: number): JsonMember {
    const start = this.at
    const key = this.#text[start] === '"' ? this.#plain() : undefined
    this.gap()
    if (typeof key !== 'string' || !this.#took(':')) throw new JsonError(this.at)
    return { key, start, value: this.value(depth + 1) }
  }

  #took(char: string): boolean {
    if (this.#text[this.at] !== char) return false
    this.at += 1
    return true
  }

  #plain(): unknown {
    const start = this.at
    this.at = endOfPlain(this.#text, start)
    if (this.at === start) throw new JsonError(start)
    try {
      return JSON.parse(this.#text.slice(start, this.at)) as unknown
    } catch {
      throw new JsonError(start)
    }
  }
}
