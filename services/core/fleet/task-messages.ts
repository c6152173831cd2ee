import { textHead, textTail } from './cut-text.ts'
import { type Message, type MessageDraft, TEXT_MAX } from './message.ts'
import { redact } from './redact.ts'
import { type SessionId, sideOf } from './session-id.ts'
import { DESCRIPTION_MAX, type EndReason, type MoveReason, PRIORITIES, type Priority, TASK_ID } from './task.ts'
import { meaningOfType, type Status, statusOfWord } from './task-words.ts'

/**
 * Messages about tasks, in the JSON of the Python protocol, which agents that know nothing of S2 read and write. `epoch` is
 * null where the writer named none.
 */
export type TaskMessage = Assignment | Revocation | MoveNotice | StatusUpdate | Acknowledgment

/** To a worker: this is yours now. */
export interface Assignment {
  readonly type: 'task_assignment'
  readonly task: string
  readonly epoch: number | null
  readonly description: string
  readonly priority: Priority
  readonly role: string | null
  /** Who had it first, as people call it; null where nobody had it before. */
  readonly originalAssignee: string | null
  /** How long its holder has for it, milliseconds; null where the writer names no time. */
  readonly timeoutMs: number | null
  /** What the last holder left to go on from; left out where there is nothing. */
  readonly checkpoint?: string
}

/** To a worker: this is not yours any more; read when it is back. */
export interface Revocation {
  readonly type: 'task_revoked'
  readonly task: string
  readonly epoch: number | null
  readonly reason: string
}

/** To whoever gave the task: another has it now. */
export interface MoveNotice {
  readonly type: 'task_moved'
  readonly task: string
  readonly from: string | null
  readonly to: string | null
  readonly reason: string
}

/** To whoever gave the task: this became of it. */
export interface StatusUpdate {
  readonly type: 'status_update'
  readonly task: string
  readonly epoch: number | null
  readonly status: Status
  readonly summary: string | null
}

/** To whoever gave the task: I have read it and take it. */
export interface Acknowledgment {
  readonly type: 'acknowledgment'
  readonly task: string
  readonly epoch: number | null
}

/** A message that S2 itself sends. Its sender is the other session of the reader's conversation. */
export interface AddressedTaskMessage {
  readonly to: SessionId
  readonly taskMessage: TaskMessage
}

/** Characters of a summary that are kept. */
const SUMMARY_MAX = 1_000
/** Characters of an agent's name that are kept. */
const NAME_MAX = 200
/** A year. What is longer, nobody meant. */
const TIMEOUT_MAX_MS = 365 * 86_400_000

/**
 * The draft that carries it: never longer than a message may be. A reader of the Python bridge gets it by the name that its
 * conversation has for the task, and work that another had before in the words of that bridge's protocol.
 */
export function writeTaskMessage(taskMessage: TaskMessage, pythonName: string | null = null): MessageDraft {
  const text = JSON.stringify(fieldsOf(pythonName === null ? taskMessage : inPythonWords(taskMessage, pythonName)))
  if (text.length <= TEXT_MAX || taskMessage.type !== 'task_assignment') return { text, action: taskMessage.type }
  // escaped, an allowed description may be too long: a command gets all of it, a reader only the beginning
  const description = `${textHead(taskMessage.description, Math.floor(taskMessage.description.length / 2))} …`
  return writeTaskMessage({ ...taskMessage, description }, pythonName)
}

function inPythonWords(taskMessage: TaskMessage, task: string): TaskMessage {
  if (taskMessage.type !== 'task_assignment' || taskMessage.originalAssignee === null) return { ...taskMessage, task }
  const description = `${taskMessage.description} (reassigned from ${taskMessage.originalAssignee})`
  return { ...taskMessage, task, description, priority: 'P0' }
}

/** The fields as the Python protocol names them; its `timeout` is in seconds. */
function fieldsOf({ type, task, ...rest }: TaskMessage): object {
  if (!('timeoutMs' in rest)) return { type, task_id: task, ...rest }
  const { timeoutMs, originalAssignee, ...others } = rest
  return {
    type,
    task_id: task,
    ...others,
    ...(originalAssignee === null ? {} : { original_assignee: originalAssignee }),
    ...(timeoutMs === null ? {} : { timeout: timeoutMs / 1_000 }),
  }
}

/** Why a task was moved away, as a sentence to its former holder. */
export function reasonInWords(reason: MoveReason | EndReason | 'cancelled'): string {
  return REASONS[reason]
}

const REASONS: Readonly<Record<MoveReason | EndReason | 'cancelled', string>> = {
  silent: 'you were not heard for too long',
  gone: 'what you ran in ended',
  lease_lapsed: 'you did not renew your lease on it',
  unassigned: 'nobody had it',
  conversation_ended: 'its conversation ended',
  by_hand: 'somebody decided so',
  not_taken: 'you did not take it',
  holder_busy: 'another agent was free for it',
  holder_sick: 'you said that you cannot work now',
  stalled: 'it showed no sign of work for too long',
  deadline: 'its deadline has passed',
  attempts: 'it was tried too often',
  cancelled: 'it was withdrawn',
}

/**
 * Reads a message about a task; null for every other text, however hostile. Unknown types, words and task ids make it
 * another text; a field that makes no sense counts as absent.
 */
export function readTaskMessage(text: string): TaskMessage | null {
  const fields = parseFields(text)
  if (fields === null) return null
  const task = readTaskId(fields)
  if (task === null) return null
  const epoch = readEpoch(fields)
  const type = fields.get('type')
  switch (type) {
    case 'task_assignment':
      return { type, task, epoch, ...readWork(fields, text) }
    case 'task_revoked':
      return { type, task, epoch, reason: readText(fields, ['reason']) ?? '' }
    case 'task_moved': {
      const reason = readText(fields, ['reason']) ?? ''
      return { type, task, from: readText(fields, ['from']), to: readText(fields, ['to']), reason }
    }
    case 'status_update':
      return readStatus(fields, task, epoch, null)
    default:
      return typeof type === 'string' ? readByMeaning(type, fields, task, epoch) : null
  }
}

function readByMeaning(type: string, fields: Fields, task: string, epoch: number | null): TaskMessage | null {
  const meaning = meaningOfType(type)
  if (meaning === null) return null
  if (meaning === 'accepted') return { type: 'acknowledgment', task, epoch }
  if (typeof meaning === 'string') return statusUpdate(fields, task, epoch, meaning)
  return readStatus(fields, task, epoch, meaning.withoutStatus)
}

/** That a task is to be done no more, by whoever had it in one epoch. */
export interface StopOrder {
  readonly is: 'revoked'
  readonly task: string
  /** The epoch that it ends; null where its writer named none. */
  readonly epoch: number | null
  readonly reason: string
}

/**
 * Whether a stop order is meant for whoever has the task in this epoch. Each life of a holder, and each holder, has an epoch of its
 * own, so that an order for an earlier one never hits its successor.
 */
export function isMeantFor(order: Pick<StopOrder, 'epoch'>, epoch: number): boolean {
  return order.epoch === null || order.epoch >= epoch
}

/** What the program of a worker reads itself: that a task is its own now, or is to be done no more. */
export type AssignmentNews = { readonly is: 'assigned'; readonly task: string } | StopOrder

/** Null for every message that is no such news, and for what another worker says. Whoever gave a task may say that it has ended. */
export function readAssignmentNews({
  from,
  sender,
  text,
}: Pick<Message, 'from' | 'sender' | 'text'>): AssignmentNews | null {
  const taskMessage = sender === undefined ? readTaskMessage(text) : null
  if (taskMessage === null) return null
  const { type, task } = taskMessage
  const epoch = 'epoch' in taskMessage ? taskMessage.epoch : null
  if (type === 'task_assignment') return { is: 'assigned', task }
  if (type === 'task_revoked') return { is: 'revoked', task, epoch, reason: taskMessage.reason }
  if (type !== 'status_update' || sideOf(from) !== 'a') return null
  const reason = END_WORDS.get(taskMessage.status)
  return reason === undefined ? null : { is: 'revoked', task, epoch, reason }
}

/** What a worker is told that works on a task whose giver says that it has ended. */
const END_WORDS: ReadonlyMap<Status, string> = new Map([
  ['cancelled', 'it was withdrawn'],
  ['completed', 'its giver says that it is completed'],
  ['failed', 'its giver says that it has failed'],
])

/** Characters of a word that nobody knows, where people read it. */
const UNKNOWN_WORD_MAX = 60

/** What nobody can read in a message that names a task: its type, its status, or the id of the task. Null where all is well. */
export function unknownWordOf(text: string): string | null {
  const fields = parseFields(text)
  const type = fields?.get('type')
  if (fields === null || typeof type !== 'string' || !fields.has('task_id') || readTaskMessage(text) !== null)
    return null
  const isKnown = KNOWN_TYPES.has(type) || meaningOfType(type) !== null
  const word = !isKnown
    ? type
    : readTaskId(fields) === null
      ? `${type} of task_id ${show(fields.get('task_id'))}`
      : `${type} of status ${show(fields.get('status'))}`
  return textHead(redact(word), UNKNOWN_WORD_MAX)
}

/** Whether the action of a message is one by which S2 and agents of the Python bridge speak of tasks. */
export function isTaskAction(action: string | null | undefined): boolean {
  return KNOWN_TYPES.has(action?.trim().toLowerCase() ?? '')
}

const KNOWN_TYPES: ReadonlySet<string> = new Set(['task_assignment', 'task_revoked', 'task_moved', 'status_update'])

/**
 * Whether some reader may take a text for a message about a task, though S2 does not: agents of the Python bridge parse JSON that is
 * none by its standard (`NaN`, line breaks), and look at the type alone.
 */
export function mayBeTaskMessage(text: string): boolean {
  const plain = text.replaceAll(/\\u([0-9a-f]{4})/gi, (_, code: string) =>
    String.fromCharCode(Number.parseInt(code, 16)),
  )
  const isLikeJson = /^[\s\ufeff]*(?:[[{]|```)/.test(plain)
  return (
    readTaskMessage(text) !== null ||
    (isLikeJson && /"(?:task_(?:id|assignment|revoked|moved)|status_update)"/.test(plain))
  )
}

function show(value: unknown): string {
  return textHead(JSON.stringify(value) ?? 'none', UNKNOWN_WORD_MAX)
}

/** Own fields only: nobody wrote what is inherited. */
type Fields = ReadonlyMap<string, unknown>

/** Agents that are language models put JSON between fences now and then. */
const FENCED = /^```(?:json)?[ \t]*\n([\s\S]*)\n```$/i

function parseFields(text: string): Fields | null {
  if (text.length > TEXT_MAX) return null
  const trimmed = text.trim()
  const json = trimmed.startsWith('```') ? (FENCED.exec(trimmed)?.[1] ?? '').trim() : trimmed
  if (!json.startsWith('{') || !json.endsWith('}')) return null
  try {
    const value: unknown = JSON.parse(json)
    return new Map(Object.entries(value as Record<string, unknown>))
  } catch {
    return null // not JSON, or nested deeper than the stack goes
  }
}

function readTaskId(fields: Fields): string | null {
  const value = fields.get('task_id')
  const id = typeof value === 'number' && Number.isSafeInteger(value) ? String(value) : value
  return typeof id === 'string' && TASK_ID.test(id) ? id : null
}

function readEpoch(fields: Fields): number | null {
  const value = fields.get('epoch')
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : null
}

/** The first of these fields that holds some text. A whole number as progress is a percentage. */
function readText(fields: Fields, names: readonly string[]): string | null {
  for (const name of names) {
    const value = fields.get(name)
    if (typeof value === 'string' && value.trim() !== '') return value
    if (name === 'progress' && typeof value === 'number') return Number.isInteger(value) ? `${value} %` : String(value)
  }
  return null
}

function readWork(fields: Fields, text: string): Omit<Assignment, 'type' | 'task' | 'epoch'> {
  const description = readText(fields, ['description', 'task', 'instructions', 'title', 'subject', 'message']) ?? text
  return {
    description: textHead(description, DESCRIPTION_MAX),
    priority: readPriority(fields.get('priority')),
    role: readRole(fields),
    originalAssignee: readOriginalAssignee(fields),
    timeoutMs: readTimeout(fields.get('timeout')),
  }
}

/** Seconds, as a number or as its text. */
function readTimeout(value: unknown): number | null {
  const isNumber = typeof value === 'number' || (typeof value === 'string' && /^\d+(\.\d+)?$/.test(value.trim()))
  const ms = isNumber ? Math.round(Number(value) * 1_000) : 0
  return ms > 0 && ms <= TIMEOUT_MAX_MS ? ms : null
}

function readRole(fields: Fields): string | null {
  const role = readText(fields, ['role', 'worker_role'])?.trim() ?? ''
  return /^[\w .:-]{1,100}$/.test(role) ? role : null
}

function readOriginalAssignee(fields: Fields): string | null {
  const name = readText(fields, ['original_assignee'])?.trim()
  return name === undefined ? null : textHead(name, NAME_MAX)
}

const PRIORITY_WORDS: ReadonlyMap<string, Priority> = new Map([
  ['critical', 'P0'],
  ['urgent', 'P0'],
  ['high', 'P1'],
  ['medium', 'P2'],
  ['normal', 'P2'],
  ['low', 'P3'],
])

function readPriority(value: unknown): Priority {
  if (typeof value !== 'string') return 'P2'
  const word = value.trim()
  return (
    PRIORITIES.find((priority) => priority === word.toUpperCase()) ?? PRIORITY_WORDS.get(word.toLowerCase()) ?? 'P2'
  )
}

/** Null where the message says no status that is known. */
function readStatus(
  fields: Fields,
  task: string,
  epoch: number | null,
  withoutStatus: Status | null,
): StatusUpdate | null {
  const value = fields.get('status')
  const status = typeof value === 'string' ? statusOfWord(value) : value === undefined ? withoutStatus : null
  return status === null ? null : statusUpdate(fields, task, epoch, status)
}

function statusUpdate(fields: Fields, task: string, epoch: number | null, status: Status): StatusUpdate {
  const summary = readText(fields, ['summary', 'message', 'progress', 'details', 'result', 'error', 'reason'])
  return { type: 'status_update', task, epoch, status, summary: summary === null ? null : cutSummary(summary) }
}

/** Keeps the end of a long text: results stand there. */
export function cutSummary(text: string): string {
  return text.length > SUMMARY_MAX ? `…${textTail(text, SUMMARY_MAX - 1)}` : text
}
