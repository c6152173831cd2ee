import type { SessionId } from '#fleet/session-id.ts'
import { readTaskMessage } from '#fleet/task-messages.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Store } from '#store/store.ts'
import { parseJson } from '../../services/bridge/parse-json.ts'
import { placeJudge } from '../../services/worker/place-fault.ts'
import { commandStarter } from '../../services/worker/task-command.ts'
import { TaskLoop, type TaskMailbox } from '../../services/worker/task-loop.ts'
import type { WorkEvent } from '../../services/worker/work-event.ts'
import { SILENT } from '../worker/silent-agent.ts'

/** A worker as `s2 work` makes one: with a real command, and real looks at its processes. */
export interface WorkerConfig {
  readonly session: SessionId
  readonly runId: string
  readonly argv: readonly [string, ...string[]]
  readonly env: Readonly<Record<string, string | undefined>>
  readonly folder: string
  readonly leaseMs: number
  readonly quickFailureMs: number
}

export type WorkerStore = Pick<Store, 'leaseTask' | 'report' | 'noteCondition' | 'unacked' | 'mark'>

const POLL_MS = 300
const PROGRESS_MS = 500

/** Works until the signal aborts; what runs then is ended. */
export async function work(
  { session, runId, argv, env, folder, leaseMs, quickFailureMs }: WorkerConfig,
  parts: {
    readonly store: WorkerStore
    readonly clock: Clock
    readonly signal: AbortSignal
    say(event: WorkEvent): void
  },
): Promise<void> {
  const { clock, signal, say } = parts
  const store: WorkerStore = {
    ...bound(parts.store),
    report: (holder, report) => parts.store.report(holder, sent(report)),
  }
  const config = { leaseMs, quickFailureMs, pollMs: POLL_MS, progressMs: PROGRESS_MS, once: false }
  const loop = new TaskLoop(config, {
    clock,
    chance: Math.random,
    runId,
    sessions: async () => [{ session, store }],
    reports: {
      put: async (holder, report) => {
        await store.report(holder, report).catch(() => undefined) // a refused one is kept as evidence
        return report.task
      },
      carried: async () => 'carried',
      waiting: async () => 0,
    },
    words: SILENT,
    taskMessages: mailbox(session, store),
    start: commandStarter(argv, env, folder, clock),
    judge: placeJudge({ argv, env, cwd: folder }, clock),
    say,
    draining: signal,
    stopping: signal,
  })
  await loop.work()
}

function bound(store: WorkerStore): WorkerStore {
  return {
    leaseTask: (...args) => store.leaseTask(...args),
    report: (...args) => store.report(...args),
    noteCondition: (...args) => store.noteCondition(...args),
    unacked: (...args) => store.unacked(...args),
    mark: (...args) => store.mark(...args),
  }
}

/** As it comes in at the bridge, which refuses what is no text. */
function sent<T>(value: T): T {
  return parseJson(Buffer.from(JSON.stringify(value))) as T
}

function mailbox(session: SessionId, store: WorkerStore): TaskMailbox {
  return {
    take: async () => {
      const messages = await store.unacked(session, 0, 100)
      await store.mark(
        session,
        messages.map(({ id }) => id),
        'acked',
      )
      const said = messages.flatMap(({ text }) => readTaskMessage(text) ?? [])
      return {
        assigned: said.flatMap((each) => (each.type === 'task_assignment' ? [each.task] : [])),
        revoked: said.flatMap((each) => (each.type === 'task_revoked' ? [each] : [])),
      }
    },
    onNews: () => ({ [Symbol.dispose]: () => undefined }), // it is read often enough
  }
}
