import type { Client, ClientSession } from '#agents/client-session.ts'
import { readClientSessions } from '#agents/client-sessions-folder.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { type NamespacedProcess, pidNamespace } from '#runtime/process-life.ts'
import { ancestors, processStart } from '#runtime/process-stat.ts'
import { type RunningTask, RunningTasks } from '#spool/running-tasks.ts'

/** Which client of an agent calls: the process that a task is held for, and the name of its life. */
export interface CallingClient {
  readonly by: { readonly client: Client; readonly id: string } | null
  /** The session of the fleet that this client is known to work for. */
  readonly session: SessionId | null
  readonly process: NamespacedProcess | null
  /** That process is a daemon's, which other clients share: it says nothing of who calls. */
  readonly sharesProcess: boolean
  /** What its leases are called by. */
  readonly incarnation: string
  /** The task of `s2 work` that it runs inside of; null where it runs in none. */
  readonly inside: RunningTask | null
}

/** The environment that `s2 work` gives to what it runs, and Codex to the commands of its shell. */
export type CallerEnv = Readonly<Record<string, string | undefined>>

/** What a caller without a known client is held for: its parent process, or whatever else runs while this host does. */
export type WithoutClient = 'parent' | 'host'

/** Who asks, and where. */
export interface CallerPlace {
  readonly state: string
  /** The parent of the process that asks. */
  readonly parent: number
  readonly without: WithoutClient
  readonly place: string | undefined
  readonly env: CallerEnv
  /** The id of the client's session, as the client named it with a call; it decides between sessions that one process holds. */
  readonly named: string | null
}

/** Finds the client that a process runs under: the nearest ancestor that hooks have told of. */
export async function findCaller(asking: CallerPlace): Promise<CallingClient> {
  const inside = await taskAround(asking)
  const found = await clientAround(asking)
  return { ...found, session: inside?.session ?? found.session, inside }
}

/**
 * The running task that a process belongs to: its `s2 work` is an ancestor or, where those cannot be seen, its environment names the
 * task. Clients hand only parts of theirs to their tools.
 */
async function taskAround({ state, parent, env }: CallerPlace): Promise<RunningTask | null> {
  const running = await new RunningTasks(state).list()
  if (running.length === 0) return null
  const above = [...ancestors(parent)]
  const isAbove = ({ worker }: RunningTask): boolean =>
    worker.namespace === pidNamespace() &&
    above.some(({ pid, startTicks }) => pid === worker.pid && startTicks === worker.startTicks)
  const isNamed = ({ task, epoch }: RunningTask): boolean =>
    env.S2_TASK_ID === task && env.S2_TASK_EPOCH === String(epoch)
  return running.find(isAbove) ?? running.find(isNamed) ?? null
}

async function clientAround(asking: CallerPlace): Promise<Omit<CallingClient, 'inside'>> {
  const { state, parent, without, place, env } = asking
  const named = asking.named ?? env.CODEX_SESSION_ID ?? null
  const clients = (await readClientSessions(state)).sort((one, other) => other.heardAt - one.heardAt)
  for (const { pid, startTicks } of ancestors(parent)) {
    const found = oneOf(
      clients.filter(({ process: its }) => its?.pid === pid && its.startTicks === startTicks),
      named,
    )
    if (found === null) continue
    const { client, id, session, sharesProcess } = found
    const process = { pid, startTicks, namespace: pidNamespace() }
    return { by: { client, id }, session, process, sharesProcess, incarnation: nameOfLife(`${client}:${id}`) }
  }
  const none = { by: null, session: null, sharesProcess: false }
  const start = without === 'parent' ? processStart(parent) : null
  if (start === null) return { ...none, process: null, incarnation: `shell:${place ?? 'host'}` }
  const process = { pid: parent, startTicks: start, namespace: pidNamespace() }
  return { ...none, process, incarnation: `mcp:${place ?? 'host'}:${parent}:${start}` }
}

/**
 * The session that is meant, of those of one process: the one that is named, else the one heard of last. A process that several share
 * tells nothing of which one calls.
 */
function oneOf(sessions: readonly ClientSession[], named: string | null): ClientSession | null {
  const live = sessions.filter(({ activity, sharesProcess }) => !sharesProcess || activity.state !== 'gone')
  const isOpen = live.length > 1 && live.some(({ sharesProcess }) => sharesProcess)
  return live.find(({ id }) => id === named) ?? (isOpen ? null : live[0]) ?? null
}

/** An incarnation as the store takes it. */
function nameOfLife(text: string): string {
  return text.replaceAll(/[^A-Za-z0-9_.:-]/g, '_').slice(0, 200)
}
