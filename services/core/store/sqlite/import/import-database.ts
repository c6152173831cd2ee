import { basename } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
import { READ_MAX } from '#fleet/message.ts'
import { type SessionId, sessionId } from '#fleet/session-id.ts'
import type { StoreParts } from '../../store.ts'
import { identify, isSameFile } from '../file/database-path.ts'
import { importInstead } from '../file/schema.ts'
import { openSqliteStore } from '../open-sqlite-store.ts'
import type { TablesAccess } from '../sqlite-store.ts'
import type { ForeignMessage } from '../tables/messages.ts'
import type { Tables } from '../tables/tables.ts'
import { type ConversationPlan, isTaken, type PlannedMessage, type Present, planConversation } from './plan-import.ts'
import { PrivateCopy, type PrivateCopyParts } from './private-copy.ts'
import { printOf, SourceFile, type SourceKind, type SourceMessage } from './source-file.ts'

export interface ImportOrder {
  /** The file that a bridge, a script or an earlier S2 kept. */
  readonly file: string
  /** The message database that it is brought into. */
  readonly database: string
  /** The folder in which the file is copied, so that it stays as it is. */
  readonly state: string
  /** How long a conversation lives that is opened again. */
  readonly lifetimeMs: number
}

export type ImportParts = StoreParts & PrivateCopyParts

/** What was left where it is, and why. */
export interface LeftBehind {
  readonly what: 'conversation' | 'message'
  readonly why: string
  readonly count: number
}

/** Why a message is left behind of which nothing is lost with the file. */
export const HERE_ALREADY = 'here already'

export interface Import {
  readonly kind: SourceKind
  readonly conversations: readonly ConversationPlan[]
  readonly leftBehind: readonly LeftBehind[]
  /** Whether the file says what was read; where it does not, all of it counts as read. */
  readonly knowsWhatWasRead: boolean
}

/** Messages brought over in one transaction. */
const BATCH = 1_000

/** Finds out what of a file would be brought over; changes neither the file nor the database. Throws `S2Error`. */
export async function planImport(order: ImportOrder, parts: ImportParts): Promise<Import> {
  demandAnother(order)
  await using copy = await PrivateCopy.of(order.file, order.state, parts)
  using source = SourceFile.open(copy.path, order.file)
  const now = parts.clock.wall()
  if (identify(order.database) === null) return planAll(source, NOTHING_PRESENT, now)
  await using store = await openSqliteStore(order.database, parts, 'read')
  return await store.ask((tables) => planAll(source, presentIn(tables, source), now))
}

/**
 * Brings over what a file holds and the database does not, each conversation in transactions of its own: whatever ends it, asking
 * again goes on. Twice is once: each message has a key that its sender uses once. Throws `S2Error`.
 */
export async function importDatabase(order: ImportOrder, parts: ImportParts): Promise<Import> {
  demandAnother(order)
  await using copy = await PrivateCopy.of(order.file, order.state, parts)
  using source = SourceFile.open(copy.path, order.file)
  await using store = await openSqliteStore(order.database, parts)
  const now = parts.clock.wall()
  const plan = await store.ask((tables) => planAll(source, presentIn(tables, source), now))
  for (const each of plan.conversations) await takeOver(each, source, store, order, now)
  return plan
}

function demandAnother({ file, database }: ImportOrder): void {
  if (!isSameFile(identify(file), identify(database))) return
  throw new S2Error('invalid', `${file} is the database itself that S2_STORE names`, {
    next: `name the database that it is brought into: ${importInstead(file)}`,
  })
}

const NOTHING_PRESENT: Present = { isLive: () => null, has: () => false, unread: () => [] }

/** What the database has, as far as it concerns the conversations of the file. */
function presentIn(tables: Tables, source: SourceFile): Present {
  const live = new Map<string, boolean>()
  for (const conversation of source.conversations()) {
    if (conversation === null) continue
    const row = tables.connection.get('SELECT 1 FROM conversations WHERE id = ?', conversation.id)
    if (row !== undefined) live.set(conversation.id, tables.conversations.isLive(conversation.id))
  }
  const prints = live.size === 0 ? new Map<string, PresentPrint>() : readPrints(tables, live)
  const isSent = (message: SourceMessage, nth: number): boolean =>
    tables.messages.hasSend(speakerOf(message), keyOf(message, nth))
  return {
    isLive: (conversation) => live.get(conversation) ?? null,
    has: (message, nth) =>
      live.has(message.conversation) && (nth <= (prints.get(message.print)?.count ?? 0) || isSent(message, nth)),
    unread: (print) => prints.get(print)?.unread ?? [],
  }
}

/** Messages of the database with one print, and the ids of those that are unread. */
interface PresentPrint {
  readonly count: number
  readonly unread: readonly number[]
}

/** All messages that the database has of some conversations. */
function readPrints({ connection }: Tables, conversations: ReadonlyMap<string, unknown>): Map<string, PresentPrint> {
  const prints = new Map<string, PresentPrint>()
  for (const row of connection.each(
    'SELECT id, conversation_id, from_session, to_session, message, timestamp, read FROM messages',
  )) {
    if (!conversations.has(row.conversation_id as string)) continue
    const print = printOf(row.conversation_id, row.from_session, row.to_session, row.message, row.timestamp)
    const { count, unread } = prints.get(print) ?? NO_PRINT
    prints.set(print, { count: count + 1, unread: row.read === 0 ? [...unread, Number(row.id)] : unread })
  }
  return prints
}

const NO_PRINT: PresentPrint = { count: 0, unread: [] }

/** Whose key it is: who wrote the message, whichever conversation it lies in. */
function speakerOf({ conversation, from, writer }: SourceMessage): SessionId {
  return writer?.session ?? sessionId(conversation, from)
}

/** The key under which a message is sent here: its own, where S2 sent it, or one that is made of what it is. */
function keyOf({ send, print }: SourceMessage, nth: number): string {
  return send?.key ?? `import ${print}${nth === 1 ? '' : ` ${nth}`}`
}

function planAll(source: SourceFile, present: Present, now: number): Import {
  const left = new Left()
  const plans: ConversationPlan[] = []
  for (const conversation of source.conversations()) {
    if (conversation === null) {
      left.add('conversation', 'with an id that no conversation can have')
      continue
    }
    const messages = readable(source.messages(conversation), left)
    const plan = planConversation(conversation, messages, source.kind, present, now)
    left.add('message', 'read, and about no open task', plan.settled)
    left.add('message', HERE_ALREADY, plan.present)
    if (isTaken(plan)) plans.push(plan)
    else if (plan.here === null) left.add('conversation', 'ended, with nothing unread or open')
  }
  left.add('message', 'of a conversation that is not in the file', source.strayMessages())
  const { kind, knowsWhatWasRead } = source
  return { kind, conversations: plans, leftBehind: left.all(), knowsWhatWasRead }
}

function* readable(messages: ReturnType<SourceFile['messages']>, left: Left): Generator<SourceMessage> {
  for (const message of messages) {
    if ('unreadable' in message) left.add('message', message.unreadable)
    else yield message
  }
}

/** Counts what is left behind, by why. */
class Left {
  readonly #counts = new Map<string, LeftBehind>()

  add(what: LeftBehind['what'], why: string, count = 1): void {
    const name = `${what} ${why}`
    if (count > 0) this.#counts.set(name, { what, why, count: count + (this.#counts.get(name)?.count ?? 0) })
  }

  all(): LeftBehind[] {
    return [...this.#counts.values()]
  }
}

async function takeOver(
  plan: ConversationPlan,
  source: SourceFile,
  store: TablesAccess,
  { file, lifetimeMs }: ImportOrder,
  now: number,
): Promise<void> {
  const { conversation, messages, acks, tokens, state } = plan
  const isEnded = tokens === 'new' && state === 'ended'
  const opened = {
    ...conversation,
    tokens: tokens === 'new' ? null : conversation.tokens,
    createdAt: conversation.createdAt ?? now,
    expiresAt: isEnded ? now + Math.round(lifetimeMs) : (conversation.expiresAt ?? now),
  }
  let rest = messages
  do {
    const { batch, count } = readBatch(source, plan, rest)
    rest = rest.slice(count)
    await store.write(({ conversations, messages, chain }) => {
      for (const side of ['a', 'b'] as const) messages.mark(sessionId(conversation.id, side), acks, 'acked')
      const isNew = conversations.takeOver(opened)
      const ids = batch.flatMap((message) => messages.takeOver(message) ?? [])
      if (!isNew && ids.length === 0) return
      const details = { file: basename(file), conversation: conversation.id, messages: ids }
      chain.append({ actor: 'admin', action: 'import', details })
    })
  } while (rest.length > 0)
}

/** Reads some of the messages, as many as one transaction takes. */
function readBatch(
  source: SourceFile,
  { conversation }: ConversationPlan,
  planned: readonly PlannedMessage[],
): { readonly batch: readonly ForeignMessage[]; readonly count: number } {
  const batch: ForeignMessage[] = []
  let length = 0
  for (const { row, nth } of planned) {
    const message = source.message(row, conversation)
    const from = sessionId(conversation.id, message.from)
    batch.push({ ...message, from, key: keyOf(message, nth), draft: message.send?.draft ?? null })
    length += message.text.length
    if (batch.length === BATCH || length >= READ_MAX) break
  }
  return { batch, count: batch.length }
}
