import type { SessionId } from '#fleet/session-id.ts'
import { type NamespacedProcess, readNamespacedProcess } from '#runtime/process-life.ts'
import { CLIENTS, type Client } from './client-session.ts'
import type { HookEvent } from './hook-event.ts'
import { HOOK_KINDS } from './hook-names.ts'
import { sessionIn } from './session-in.ts'
import { type ClientFields, isClientId, objectOf, shortWord, wholeFieldsOf } from './whole-fields.ts'

/** What only a child of the client knows of it. */
export interface ClientFacts {
  /** The client's own process; null where none was found. */
  readonly process: NamespacedProcess | null
  /** That process is a daemon's, which holds sessions of several terminals. */
  readonly sharesProcess: boolean
  readonly pane: { readonly socket: string; readonly id: string } | null
  readonly inboxSocket: string | null
  /** Of the client that runs; null where it was not looked at, or does not say. */
  readonly version: string | null
  /** The session of the fleet that its environment names; null where it names none. */
  readonly session: SessionId | null
}

/** An event of a client as its hook leaves it for keepalive. */
export interface HookReport {
  readonly event: HookEvent
  /** Null where the client told it over HTTP: nothing runs as its child then. */
  readonly facts: ClientFacts | null
  /** When it was told: milliseconds since 1970. */
  readonly at: number
  /** The hook made the turn go on that was about to end. */
  readonly isBlocked: boolean
}

const TEXT_MAX = 4_096
const WAKES_MAX = 20

/** Reads a report that anybody who may write in the folder may have left; null for anything else. Never throws. */
export function readHookReport(text: string): HookReport | null {
  const fields = wholeFieldsOf(text)
  const event = fields === null ? null : eventOf(objectOf(fields.event))
  if (fields === null || event === null || !isInstant(fields.at)) return null
  const facts = fields.facts === null ? null : factsOf(objectOf(fields.facts))
  return { event, facts, at: fields.at, isBlocked: fields.isBlocked === true }
}

function eventOf(fields: ClientFields): HookEvent | null {
  const client = CLIENTS.find((each): each is Client => each === fields.client)
  const kind = HOOK_KINDS.find((each) => each === fields.kind)
  const [name, id] = [shortWord(fields.name), textOf(fields.id)]
  if (client === undefined || kind === undefined || name === null || id === null || !isClientId(id)) return null
  return {
    client,
    name,
    kind,
    id,
    subagent: shortWord(fields.subagent),
    folder: textOf(fields.folder),
    transcript: textOf(fields.transcript),
    permissionMode: shortWord(fields.permissionMode),
    version: shortWord(fields.version),
    what: textOf(fields.what),
    failure: shortWord(fields.failure),
    wakes: wakesOf(fields.wakes),
    isStopHookActive: fields.isStopHookActive === true,
    background: isInstant(fields.background) ? fields.background : 0,
  }
}

function factsOf(fields: ClientFields): ClientFacts {
  const pane = objectOf(fields.pane)
  const [socket, id] = [textOf(pane.socket), textOf(pane.id)]
  return {
    process: readNamespacedProcess(fields.process),
    sharesProcess: fields.sharesProcess === true,
    pane: socket !== null && id !== null && /^%\d{1,9}$/.test(id) ? { socket, id } : null,
    inboxSocket: textOf(fields.inboxSocket),
    version: shortWord(fields.version),
    session: sessionIn(fields.session),
  }
}

function wakesOf(value: unknown): string[] {
  if (!Array.isArray(value)) return []
  const wakes: unknown[] = value.slice(0, WAKES_MAX)
  return wakes.filter((each): each is string => typeof each === 'string' && /^[0-9a-f]{12}$/.test(each))
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' && value !== '' && value.length <= TEXT_MAX && !/\p{Cc}/u.test(value) ? value : null
}

function isInstant(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}
