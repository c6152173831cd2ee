/** Whether a text can be the name of a prompt: 12 hex digits. */
export function isPromptName(text: string): boolean {
  return /^[0-9a-f]{12}$/.test(text)
}

/** How a permission prompt is named in what a client is said to wait for. */
const NAMED = /^permission prompt ([0-9a-f]{12})(, at its terminal)?: /
const AT_TERMINAL = ', at its terminal'

export interface NamedPrompt {
  /** 12 hex digits by chance: no other prompt has them, not even one that asks the same again. */
  readonly name: string
  /** A hook of its client still waits for an answer from afar. */
  readonly isAnswerable: boolean
}

/** Null where it names none. */
export function namedPromptIn(what: string | null): NamedPrompt | null {
  const [, name, atTerminal] = NAMED.exec(what ?? '') ?? []
  return name === undefined ? null : { name, isAnswerable: atTerminal === undefined }
}

/** The name of the prompt that can be answered from afar now; null where there is none. */
export function answerablePromptIn(what: string | null): string | null {
  const named = namedPromptIn(what)
  return named?.isAnswerable === true ? named.name : null
}

/** What a prompt asks, with its name. */
export function promptLine(name: string, asked: string): string {
  return `permission prompt ${name}: ${asked}`
}

/** The same once nobody waits for an answer from afar any more: it is the same dialog still. */
export function promptLineAtTerminal(line: string): string {
  return line.replace(NAMED, `permission prompt $1${AT_TERMINAL}: `)
}
