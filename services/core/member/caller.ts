import type { Client } from '#agents/client-session.ts'
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
  /** What its leases are called by. */
  readonly incarnation: string
  /** The task of `s2 work` that it runs inside of; null where it runs in none. */
  readonly inside: RunningTask | null
}

/** The environment that `s2 work` gives to what it runs. */
export type TaskEnv = Readonly<Record<string, string | undefined>>

/** What a caller without a known client is held for: its parent process, or whatever else runs while this host does. */
export type WithoutClient = 'parent' | 'host'

/**
 * Finds the client that a process runs under: the nearest ancestor that hooks have told of. `parent`: the number of the parent
 * of the process that asks.
 */
export async function findCaller(
  state: string,
  parent: number,
  without: WithoutClient,
  place: string | undefined,
  env: TaskEnv,
): Promise<CallingClient> {
  const inside = await taskAround(state, parent, env)
  const found = await clientAround(state, parent, without, place)
  return { ...found, session: inside?.session ?? found.session, inside }
}

/**
 * The running task that a process belongs to: its `s2 work` is an ancestor or, where those cannot be seen, its environment names the
 * task. Clients hand only parts of theirs to their tools.
 */
async function taskAround(state: string, parent: number, env: TaskEnv): Promise<RunningTask | null> {
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

async function clientAround(
  state: string,
  parent: number,
  without: WithoutClient,
  place: string | undefined,
): Promise<Omit<CallingClient, 'inside'>> {
  const clients = (await readClientSessions(state)).sort((one, other) => other.heardAt - one.heardAt)
  for (const { pid, startTicks } of ancestors(parent)) {
    const found = clients.find(({ process: its }) => its?.pid === pid && its.startTicks === startTicks)
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
