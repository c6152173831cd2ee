import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { type AuditedAct, cleanAct, DETAILS_DEPTH_MAX, isNestedTooDeep, isOwnAct } from '#fleet/audit.ts'
import { CODES, type Code, type S2Error } from '#fleet/errors.ts'
import { checkDraft, cleanDraft, type MessageDraft } from '#fleet/message.ts'
import type { Addressee } from '#fleet/peer-messages.ts'
import { parseSession, type SessionId } from '#fleet/session-id.ts'
import { REPORT_STATES, RETURN_CAUSES, type Report, type ReturnCause } from '#fleet/task.ts'
import { cleanReport } from '#fleet/task-reports.ts'
import { type Usage, usageIn } from '#fleet/usage.ts'
import { folderVersion } from './atomic-files.ts'
import { isItemName } from './item-name.ts'
import type { OwnFolder } from './own-folder.ts'
import { diskError, invalid, parseObject } from './plain-file.ts'
import { codeOf } from './quarantine.ts'
import { SpoolFolders } from './spool-folders.ts'

/** Something that an agent of this host has to say, kept until the bridge has it. */
export type OutboxItem =
  | { readonly kind: 'send'; readonly from: SessionId; readonly key: string; readonly draft: MessageDraft }
  | PostItem
  | { readonly kind: 'report'; readonly holder: SessionId; readonly report: Report }
  | { readonly kind: 'act'; readonly holder: SessionId; readonly act: OwnAct }

/** A message to another agent than the partner, or to all of a role. */
interface PostItem {
  readonly kind: 'post'
  readonly from: SessionId
  readonly to: Addressee
  readonly key: string
  readonly draft: MessageDraft
}

/** What a session has recorded of itself in the audit of the fleet. */
export type OwnAct = Pick<AuditedAct, 'action' | 'details'>

/** The same before it is kept: a message without a key gets its name for one. */
export type NewOutboxItem =
  | { readonly kind: 'send'; readonly from: SessionId; readonly key?: string; readonly draft: MessageDraft }
  | (Omit<PostItem, 'key'> & Partial<Pick<PostItem, 'key'>>)
  | { readonly kind: 'report'; readonly holder: SessionId; readonly report: Report }
  | { readonly kind: 'act'; readonly holder: SessionId; readonly act: OwnAct }

export interface Entry {
  readonly name: string
  readonly item: OutboxItem
}

/** Why the bridge would not have an item. */
export interface OutboxProblem {
  readonly code: Code
  readonly message: string
  readonly next: string | null
  /** Joins it with what the bridge logged. */
  readonly id: string | null
}

/** What became of an item. `unknown`: it was never put, was taken away by somebody else, or left too long ago to be remembered. */
export type OutboxOutcome = 'waiting' | 'carried' | 'unknown' | OutboxProblem

export function problemOf({ code, message, next, id }: S2Error): OutboxProblem {
  return { code, message, next: next ?? null, id: id ?? null }
}

/** The session that an item speaks for: items of one session keep their order. */
export function speakerOf(item: OutboxItem): SessionId {
  return item.kind === 'send' || item.kind === 'post' ? item.from : item.holder
}

/** Bytes of the largest item anybody reads: a full draft, each character escaped. */
const ITEM_FILE_MAX = 1024 * 1024
/** How many refusals are kept, and how many names of what was carried; the oldest go first, some at a time. */
const REFUSED_MAX = 1_000
const CARRIED_MAX = 5_000
/** After how many carried items those that are remembered are counted. */
const CARRIED_COUNTED_EVERY = 500
/**
 * The highest number of a name. An item that somebody planted with it would leave no higher one: what is put beside it gets the
 * same, and leaves with it in an order of chance, but leaves.
 */
const NUMBER_MAX = 10 ** 13 - 1

/**
 * One host's outbox: what was put is durable and leaves in the order it was put, whoever puts and whatever dies between.
 * Any number of processes put; one carries. Verbs that write throw `unavailable` when the disk refuses: then it did not happen.
 */
export class Outbox {
  readonly #folders: SpoolFolders<'tmp' | 'new' | 'refused' | 'carried'>
  /** What is put at once from here goes in one after the other, so that the order of calls is the order of names. */
  #putting: Promise<unknown> = Promise.resolve()
  #carried = 0

  constructor(state: string, onFault: (fault: string) => void = () => undefined) {
    this.#folders = new SpoolFolders(join(state, 'outbox'), onFault)
  }

  folder(which: 'new' | 'refused'): string {
    return this.#folders.path(which)
  }

  /** Keeps an item and answers its name. Answered means durable. Refuses what no store may keep, before it waits for days. */
  async put(item: NewOutboxItem): Promise<string> {
    if (item.kind === 'send' || item.kind === 'post') checkDraft(item.draft)
    const put = this.#putting.then(() => this.#put(item))
    this.#putting = put.catch(() => undefined)
    return await put
  }

  async #put(item: NewOutboxItem): Promise<string> {
    const unique = randomBytes(8).toString('hex')
    try {
      await this.#folders.ensure(['tmp', 'new'])
      using drafts = this.#folders.hold('tmp')
      using waiting = this.#folders.hold('new')
      const name = `${String(Math.min((await this.#last()) + 1, NUMBER_MAX)).padStart(16, '0')}-${unique}`
      await drafts.writeAll([{ name: unique, content: `${JSON.stringify(withoutSecrets(item, name))}\n` }])
      moveOrRemove(drafts, unique, waiting, fileOf(name))
      await waiting.sync()
      return name
    } catch (error) {
      throw diskError('keeping it in the outbox', error)
    }
  }

  /** Changes when an item comes or leaves; within a few milliseconds it may not yet have. */
  version(): string {
    return folderVersion(this.folder('new'))
  }

  /** The names of what waits, in order. */
  async names(): Promise<string[]> {
    const names = (await this.#folders.names('new')).map(itemOf)
    return names.filter((name) => name !== null).sort()
  }

  /** An item that waits; null where it has left, or was no item and is set aside now. */
  async read(name: string): Promise<OutboxItem | null> {
    if (!isItemName(name)) return null
    using waiting = this.#folders.holdIfThere('new')
    if (waiting === null) return null
    try {
      const file = await waiting.read(fileOf(name), ITEM_FILE_MAX)
      return file === null ? null : parseItem(file.text)
    } catch (error) {
      if ((error as S2Error).code !== 'invalid') throw error
      await this.#setAside(waiting, name, (error as S2Error).message)
      return null
    }
  }

  /** All that waits, in order. Reads everything: for people and small queues. */
  async list(): Promise<Entry[]> {
    const entries: Entry[] = []
    for (const name of await this.names()) {
      const item = await this.read(name)
      if (item !== null) entries.push({ name, item })
    }
    return entries
  }

  /** The bridge has it. That is noted first, so that no item is gone of which nobody can tell. */
  async done(name: string): Promise<void> {
    await this.#noteCarried(name)
    await this.#leave(name)
  }

  async #leave(name: string): Promise<void> {
    try {
      using waiting = this.#folders.hold('new')
      await waiting.unlink(fileOf(name))
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw diskError('letting go of what was carried', error)
    }
  }

  /** The bridge will never have it: keeps it aside with the problem, for whoever put it. */
  async refuse(name: string, problem: OutboxProblem): Promise<void> {
    try {
      const item = await this.read(name)
      if (item === null) return
      await this.#keepRefusal(name, item, problem)
      await this.#leave(name)
    } catch (error) {
      throw diskError('setting aside what was refused', error)
    }
  }

  /** Why an item was refused; null where it was not. */
  async refusal(name: string): Promise<OutboxProblem | null> {
    if (!isItemName(name)) return null
    using refused = this.#folders.holdIfThere('refused')
    const file = (await refused?.read(fileOf(name), 2 * ITEM_FILE_MAX)) ?? null
    return file === null ? null : parseProblem(parseObject(file.text).problem)
  }

  /** What became of an item that was put here. */
  async outcome(name: string): Promise<OutboxOutcome> {
    if (!isItemName(name)) throw invalid(`${JSON.stringify(name)} is no name of an item`)
    using waiting = this.#folders.holdIfThere('new')
    if (waiting?.has(fileOf(name)) === true) return 'waiting'
    const refusal = await this.refusal(name)
    if (refusal !== null) return refusal
    return this.#wasCarried(name) ? 'carried' : 'unknown'
  }

  #wasCarried(name: string): boolean {
    try {
      using carried = this.#folders.hold('carried')
      return carried.has(name)
    } catch (error) {
      // Where no folder lies, nothing could be noted.
      if (/^(ENOENT|ENOTDIR|invalid)$/.test(codeOf(error))) return false
      throw diskError('looking for what was carried', error)
    }
  }

  /**
   * Tidies the folders, for the one process that carries: drafts whose writers died go (`wall` is the clock's time), and
   * what is no item is set aside; not more than some at a time.
   */
  async tidy(wall: number): Promise<void> {
    try {
      await this.#folders.ensure(['tmp', 'new'])
      await this.#folders.clearOld('tmp', { wall, ageMs: DRAFT_AGE_MAX_MS, most: TIDIED_MAX })
      await this.#setAsideNameless()
    } catch (error) {
      throw diskError('tidying the outbox', error)
    }
  }

  async #setAsideNameless(): Promise<void> {
    using waiting = this.#folders.holdIfThere('new')
    if (waiting === null) return
    let room = TIDIED_MAX
    for (const name of await waiting.names()) {
      if (name.startsWith('.') || itemOf(name) !== null) continue
      if (room === 0) return
      room -= 1
      await this.#folders.setAside(waiting, name, 'is not named like an item')
    }
  }

  /** Numbers only order what waits at one time; the rest of a name makes it unlike all others for ever. */
  async #last(): Promise<number> {
    return Number((await this.names()).at(-1)?.slice(0, 16) ?? 0)
  }

  /** Whoever put it is to learn why, and nobody is to trip over it again: not even where no room is left to tell. */
  async #setAside(waiting: OwnFolder, name: string, why: string): Promise<void> {
    const next = 'write the item anew, as docs/protocol.md says'
    await this.#keepRefusal(name, null, { code: 'invalid', message: `the item ${why}`, next, id: null }).catch(
      () => undefined,
    )
    await this.#folders.setAside(waiting, fileOf(name), why)
  }

  async #keepRefusal(name: string, item: OutboxItem | null, problem: OutboxProblem): Promise<void> {
    await this.#folders.ensure(['refused'])
    using refused = this.#folders.hold('refused')
    await refused.publish(fileOf(name), `${JSON.stringify({ item, problem })}\n`)
    await this.#prune(refused, REFUSED_MAX, (file) => file.endsWith(ENDING))
  }

  /**
   * Notes the name of what was carried in an empty file. A full disk must not keep an item in the queue that the bridge has: then
   * its outcome is unknown. So it is after a loss of power, since nothing is synced here.
   */
  async #noteCarried(name: string): Promise<void> {
    try {
      await this.#folders.ensure(['carried'])
      using carried = this.#folders.hold('carried')
      if (!carried.has(name)) carried.note(name, '')
      if (this.#carried % CARRIED_COUNTED_EVERY === 0)
        await this.#prune(carried, CARRIED_MAX, (file) => isItemName(file))
      this.#carried += 1
    } catch {
      // the item leaves all the same
    }
  }

  async #prune(folder: OwnFolder, most: number, isOurs: (file: string) => boolean): Promise<void> {
    const names = (await folder.names()).filter(isOurs)
    if (names.length <= most) return
    const aged = names.map((name) => ({ name, at: folder.lstat(name)?.mtimeMs ?? 0 }))
    aged.sort((x, y) => x.at - y.at)
    const left = Math.max(0, names.length - most * 0.9)
    for (const { name } of aged.slice(0, Math.min(left, PRUNED_MAX))) await this.#folders.clear(folder, name)
  }
}

const ENDING = '.json'

function fileOf(name: string): string {
  return `${name}${ENDING}`
}

/** The item that a file is named after; null for a name of nothing we gave. */
function itemOf(file: string): string | null {
  const name = file.slice(0, -ENDING.length)
  return file.endsWith(ENDING) && isItemName(name) ? name : null
}

function moveOrRemove(from: OwnFolder, name: string, to: OwnFolder, newName: string): void {
  try {
    from.move(name, to, newName)
  } catch (error) {
    from.tryUnlink(name)
    throw error
  }
}

const DRAFT_AGE_MAX_MS = 3_600_000
/** What is removed, and what is set aside, in one go: an agent that makes rubbish without end must not keep us from our work. */
const TIDIED_MAX = 200
/** How many of what is kept for a while are removed in one go. */
const PRUNED_MAX = 2_000

/** What waits on this host's disk, without secrets: the bridge would keep it so, and its key and fingerprint stay the same. */
function withoutSecrets(item: NewOutboxItem, name: string): OutboxItem {
  if (item.kind === 'report') return { ...item, report: cleanReport(item.report) }
  if (item.kind === 'act') return { ...item, act: ownAct(item.act, item.holder) }
  return { ...item, draft: cleanDraft(item.draft), key: item.key ?? name }
}

function ownAct(act: OwnAct, actor: SessionId): OwnAct {
  const { action, details } = cleanAct({ ...act, actor })
  return { action, details }
}

function parseItem(text: string): OutboxItem {
  const { kind, ...rest } = parseObject(text)
  if (kind === 'send') return { kind, from: session(rest.from), key: key(rest.key), draft: parseDraft(rest.draft) }
  if (kind === 'post') {
    const { from, to, draft } = rest
    return { kind, from: session(from), to: parseAddressee(to), key: key(rest.key), draft: parseDraft(draft) }
  }
  if (kind === 'report') return { kind, holder: session(rest.holder), report: parseReport(rest.report) }
  if (kind === 'act') return { kind, holder: session(rest.holder), act: parseAct(rest.act) }
  throw invalid('is no message, report or act')
}

function parseDraft(value: unknown): MessageDraft {
  const { text, action = null, files = [] } = object(value)
  if (typeof text !== 'string') throw invalid('has no text')
  if (action !== null && typeof action !== 'string') throw invalid('has an action that is no text')
  if (!Array.isArray(files) || files.some((each) => typeof each !== 'string'))
    throw invalid('has files that are no names')
  return { text, action, files: files as string[] }
}

function parseAddressee(value: unknown): Addressee {
  const { agent, role } = object(value)
  if (typeof agent === 'string' && agent !== '' && role === undefined) return { agent }
  if (typeof role === 'string' && role !== '' && agent === undefined) return { role }
  throw invalid('names neither an agent nor a role')
}

function parseAct(value: unknown): OwnAct {
  const { action, details } = object(value)
  if (typeof action !== 'string' || !isOwnAct(action)) throw invalid('names no act of a session')
  const kept = object(details)
  if (isNestedTooDeep(kept)) throw invalid(`has details that are nested deeper than ${DETAILS_DEPTH_MAX} levels`)
  return { action, details: kept }
}

function parseReport(value: unknown): Report {
  const { task, epoch, state, progress = null, result = null, work, cause, usage, checkpoint } = object(value)
  if (typeof task !== 'string' || !Number.isSafeInteger(epoch)) throw invalid('reports on no task')
  const reported = REPORT_STATES.find((each) => each === state)
  if (reported === undefined) throw invalid('reports no state')
  if (progress !== null && typeof progress !== 'string') throw invalid('has progress that is no text')
  return {
    task,
    epoch: epoch as number,
    state: reported,
    progress,
    result: result === null ? null : parseResult(result),
    ...(work === undefined ? {} : { work: parseCount(work) }),
    ...(cause === undefined ? {} : { cause: parseCause(cause) }),
    ...(typeof checkpoint === 'string' ? { checkpoint } : {}),
    ...(usage === undefined ? {} : { usage: parseUsage(usage) }),
  }
}

function parseUsage(value: unknown): Usage {
  const usage = usageIn(value)
  if (usage === null) throw invalid('says in no known form what was used')
  return usage
}

function parseCount(value: unknown): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw invalid('counts what is no number')
  return value as number
}

function parseCause(value: unknown): ReturnCause {
  const cause = RETURN_CAUSES.find((each) => each === value)
  if (cause === undefined) throw invalid('returns a task for no cause')
  return cause
}

function parseResult(value: unknown): NonNullable<Report['result']> {
  const { exitCode = null, signal = null, tail } = object(value)
  if (exitCode !== null && !Number.isSafeInteger(exitCode)) throw invalid('has an exit code that is no number')
  if (signal !== null && typeof signal !== 'string') throw invalid('has a signal that is no text')
  if (typeof tail !== 'string') throw invalid('has a result without a tail')
  return { exitCode: exitCode as number | null, signal, tail }
}

function parseProblem(value: unknown): OutboxProblem {
  const { code, message, next = null, id = null } = object(value)
  if (!CODES.includes(code as Code) || typeof message !== 'string') throw invalid('tells no problem')
  return {
    code: code as Code,
    message,
    next: typeof next === 'string' ? next : null,
    id: typeof id === 'string' ? id : null,
  }
}

function object(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) throw invalid('has a part that is no object')
  return value as Record<string, unknown>
}

function session(value: unknown): SessionId {
  if (typeof value !== 'string') throw invalid('names no session')
  parseSession(value)
  return value as SessionId
}

function key(value: unknown): string {
  if (typeof value !== 'string' || value.length < 1 || value.length > 200) throw invalid('has no key')
  return value
}
