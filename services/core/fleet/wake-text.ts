/**
 * A wake names itself in the text that it brings to the agent, so that whoever sees that text arrive knows that it was read. The
 * name is drawn anew for each wake: a message that merely looks like a wake proves none.
 */
const WAKE = /\bS2 wake ([0-9a-f]{12})\b/g

/** The beginning of a wake's text. `id`: 12 small hexadecimal digits. */
export function wakeHead(id: string): string {
  return `S2 wake ${id}`
}

/** The wakes that a text names, in its order. */
export function wakesIn(text: string): string[] {
  return [...text.matchAll(WAKE)].flatMap(([, id]) => (id === undefined ? [] : [id]))
}

/** What a wake may tell: facts, and never what a message says. */
export interface WakeFacts {
  /** Who wrote, as people call them. */
  readonly from: readonly string[]
  /** Unread messages. */
  readonly messages: number
  /** The tasks that these messages assign to the agent or, without messages, that earlier ones did. */
  readonly assigned: readonly string[]
  /** The task that is held by this agent; null where there is none. */
  readonly task: string | null
}

/** Names that a text shows. */
const NAMES_MAX = 5
/** Whatever else a name may hold is left out: it stands in a text that an agent reads, or that is typed into a terminal. */
const NOT_IN_NAMES = /[^\w./@-]+/g

/** The whole text of a wake: one line, without anything that steers a terminal. */
export function wakeText(id: string, { from, messages, assigned, task }: WakeFacts): string {
  const shown = shownNames(from)
  const tasks = shownNames(assigned)
  const mail = `${messages} unread ${messages === 1 ? 'message' : 'messages'}${shown === '' ? '' : ` from ${shown}`}`
  return [
    `${wakeHead(id)}: ${messages === 0 ? 'no unread message' : mail}.`,
    ...(tasks === '' ? [] : [`Assigned ${messages === 0 ? 'and not taken' : 'by them'}: ${tasks}.`]),
    ...(task === null ? [] : [`Task ${named(task)} is open.`]),
    'The MCP tool check_messages or the command "s2 check" reads messages; take_task or "s2 task take" begins a task.',
  ].join(' ')
}

function shownNames(all: readonly string[]): string {
  const names = [...new Set(all.map(named))].filter((each) => each !== '')
  return names.slice(0, NAMES_MAX).join(', ') + (names.length > NAMES_MAX ? ' and others' : '')
}

function named(name: string): string {
  return name.replaceAll(NOT_IN_NAMES, '').slice(0, 80)
}

/** The text by which a way to wake an agent is tried. */
export function trialText(id: string): string {
  return `${wakeHead(id)}: a person tries whether this session can be woken. It tells of no message, and nothing is to be done.`
}
