import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { CLIENTS, type Client } from '#agents/client-session.ts'
import { parseSession, type SessionId } from '#fleet/session-id.ts'
import { processStart, processStat } from '#runtime/process-stat.ts'
import { type HeldBy, pidNamespace } from '#spool/held-tasks.ts'
import { parseObject, readPlainFileSync } from '#spool/plain-file.ts'

/** Which client of an agent calls: the process that a task is held for, and the name of its life. */
export interface CallingClient {
  readonly by: { readonly client: Client; readonly id: string } | null
  /** The session of the fleet that this client is known to work for. */
  readonly session: SessionId | null
  readonly process: HeldBy | null
  /** What its leases are called by. */
  readonly incarnation: string
}

/** What a caller without a known client is held for: its parent process, or whatever else runs while this host does. */
export type WithoutClient = 'parent' | 'host'

/** A process of which a hook has told that it is a client. */
interface KnownClient {
  readonly client: Client
  readonly id: string
  readonly session: SessionId | null
  readonly pid: number
  readonly startTicks: string
}

const FILE_MAX = 65_536
const FILES_MAX = 500
const ANCESTORS_MAX = 64

/**
 * Finds the client that a process runs under: the nearest ancestor that hooks have told of. `parent`: the number of the parent
 * of the process that asks.
 */
export function findCaller(
  state: string,
  parent: number,
  without: WithoutClient,
  place: string | undefined,
): CallingClient {
  const clients = knownClients(state)
  for (const { pid, startTicks } of ancestors(parent)) {
    const found = clients.find((each) => each.pid === pid && each.startTicks === startTicks)
    if (found === undefined) continue
    const process = { pid, startTicks, namespace: pidNamespace() }
    const incarnation = nameOfLife(`${found.client}:${found.id}`)
    return { by: { client: found.client, id: found.id }, session: found.session, process, incarnation }
  }
  const start = without === 'parent' ? processStart(parent) : null
  if (start === null) return { by: null, session: null, process: null, incarnation: `shell:${place ?? 'host'}` }
  const process = { pid: parent, startTicks: start, namespace: pidNamespace() }
  return { by: null, session: null, process, incarnation: `mcp:${place ?? 'host'}:${parent}:${start}` }
}

/** An incarnation as the store takes it. */
function nameOfLife(text: string): string {
  return text.replaceAll(/[^A-Za-z0-9_.:-]/g, '_').slice(0, 200)
}

function* ancestors(first: number): Generator<{ readonly pid: number; readonly startTicks: string }> {
  let pid = first
  for (let count = 0; pid > 1 && count < ANCESTORS_MAX; count += 1) {
    const stat = processStat(pid)
    if (stat === null) return
    yield { pid, startTicks: stat.startedAt }
    pid = stat.parent
  }
}

/** The clients whose sessions keepalive has published. A file that is none is passed over. */
function knownClients(state: string): KnownClient[] {
  const folder = join(state, 'agents', 'sessions')
  return namesIn(folder).flatMap((name) => readClient(join(folder, name)) ?? [])
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => name.endsWith('.json') && !name.startsWith('.'))
      .slice(0, FILES_MAX)
  } catch {
    return []
  }
}

function readClient(path: string): KnownClient | null {
  try {
    const { client, id, session, process } = parseObject(readPlainFileSync(path, FILE_MAX) ?? '')
    const { pid, startTicks } = (process ?? {}) as Record<string, unknown>
    if (!CLIENTS.includes(client as Client) || typeof id !== 'string') return null
    if (typeof pid !== 'number' || typeof startTicks !== 'string') return null
    return { client: client as Client, id, session: readSession(session), pid, startTicks }
  } catch {
    return null
  }
}

function readSession(value: unknown): SessionId | null {
  if (typeof value !== 'string') return null
  parseSession(value)
  return value as SessionId
}
