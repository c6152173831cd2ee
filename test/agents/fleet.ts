import { randomUUID } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ClientSession } from '../../services/core/agents/client-session.ts'
import type { WorkedRung } from '../../services/core/agents/wake/wake-memory.ts'
import type { ClientActivityState } from '../../services/core/fleet/client-activity.ts'
import type { Message, StoredMessage } from '../../services/core/fleet/message.ts'
import type { SessionId } from '../../services/core/fleet/session-id.ts'
import type { Task } from '../../services/core/fleet/task.ts'
import type { AgentVerdict, ShownActivity } from '../../services/core/fleet/verdict.ts'
import type { Store } from '../../services/core/store/store.ts'
import { deal, verdictOf } from '../rehearse/company.ts'
import { Stage, type StageWorker, workerOf } from '../rehearse/stage.ts'
import { until } from '../until.ts'

/** Within this the fleet is told of what a client does: far longer than it takes, on a machine with much else to do. */
const TOLD_MS = 60_000

/** A fleet of real programs whose workers are clients: nothing works there until a client is started in a worker's place. */
export class ClientFleet implements AsyncDisposable {
  readonly stage: Stage
  readonly store: Store
  readonly #sessions: readonly SessionId[]

  private constructor(stage: Stage, store: Store, sessions: readonly SessionId[]) {
    this.stage = stage
    this.store = store
    this.#sessions = sessions
  }

  /** Brings it up, and waits until all its workers are alive. */
  static async raise(
    workers: readonly Partial<StageWorker>[],
    settings: Readonly<Record<string, string>> = {},
    env: Readonly<Record<string, string>> = {},
  ): Promise<ClientFleet> {
    await using stack = new AsyncDisposableStack()
    const whole = workers.map((each) => ({ role: 'coding', exec: null, ...each }))
    const stage = stack.use(new Stage({ settings, env, workers: whole }))
    const store = await stage.raise()
    const names = workers.map((_, index) => workerOf(index + 1))
    const verdicts = async () => await Promise.all(names.map((name) => verdictOf(store, name)))
    await until('all workers are alive', async () => (await verdicts()).every((verdict) => verdict === 'alive')).catch(
      (error: Error) => {
        throw new Error(`${error.message}; the fleet said:\n${stage.said().slice(-4_000)}`)
      },
    )
    const conversations = await store.conversations()
    const sessions = names.map((name) => {
      const found = conversations.find(({ agents }) => agents.b === name)
      if (found === undefined) throw new Error(`${name} has no conversation`)
      return `${found.id}/b` as SessionId
    })
    stack.move()
    return new ClientFleet(stage, store, sessions)
  }

  /** Workers count from 1. */
  session(worker: number): SessionId {
    const session = this.#sessions[worker - 1]
    if (session === undefined) throw new Error(`there is no worker ${worker}`)
    return session
  }

  /** The environment of a client in a worker's place. */
  envOf(worker: number): Record<string, string> {
    return { S2_STATE: this.stateOf(worker) }
  }

  stateOf(worker: number): string {
    return this.stage.stateOf(workerOf(worker))
  }

  async assign(worker: number, id: string, description: string): Promise<void> {
    const conversations = await this.store.conversations()
    await deal({ store: this.store, conversations, dealt: [] }, worker, id, description)
  }

  /** Sends a message of the orchestrator to a worker. */
  async tell(worker: number, text: string): Promise<Message> {
    const [conversation] = this.session(worker).split('/')
    return await this.store.send(`${conversation}/a` as SessionId, randomUUID(), { text })
  }

  /** The rungs of the ladder whose wake a worker's client has read, as its watcher remembers them. */
  wokenBy(worker: number): readonly WorkedRung[] {
    const path = join(this.stateOf(worker), 'watcher', 'inbox-wakes.json')
    if (!existsSync(path)) return []
    return Object.values((JSON.parse(readFileSync(path, 'utf8')) as { worked: Record<string, WorkedRung> }).worked)
  }

  /** The log of a program of a worker's host. */
  logOf(worker: number, program: string): string {
    return readFileSync(join(this.stage.state, 'logs', `${workerOf(worker)}-${program}.log`), 'utf8')
  }

  /** Waits until a task is so, and answers it. */
  async task(id: string, what: string, isSo: (task: Task) => boolean, mostMs?: number): Promise<Task> {
    let last: Task | undefined
    const isThere = async (): Promise<boolean> => {
      last = await this.store.task(id)
      return isSo(last)
    }
    await until(`task ${id} is ${what}`, isThere, mostMs).catch((error: Error) => {
      throw new Error(`${error.message}; it is ${JSON.stringify(last)}`)
    })
    return last as Task
  }

  /** Waits until the fleet is told so of a worker and of what its client does, and answers that. */
  async verdict(
    worker: number,
    what: string,
    isSo: (verdict: AgentVerdict) => unknown,
    mostMs = TOLD_MS,
  ): Promise<AgentVerdict> {
    let last: AgentVerdict | undefined
    const isThere = async (): Promise<boolean> => {
      last = (await this.store.verdicts()).verdicts.find(({ agent }) => agent === workerOf(worker))
      return last !== undefined && Boolean(isSo(last))
    }
    await until(`worker ${worker} is ${what}`, isThere, mostMs).catch((error: Error) => {
      const here = JSON.stringify(this.clientSessions(worker))
      throw new Error(`${error.message}; it is ${JSON.stringify(last)}, and its host tells ${here}`)
    })
    return last as AgentVerdict
  }

  /** The same of what its client does. */
  async activity(worker: number, state: ClientActivityState, mostMs?: number): Promise<ShownActivity> {
    const verdict = await this.verdict(worker, state, ({ activity }) => activity?.state === state, mostMs)
    return verdict.activity as ShownActivity
  }

  /** What a worker has not acked. */
  async unacked(worker: number): Promise<readonly StoredMessage[]> {
    return await this.store.unacked(this.session(worker), 0, 100)
  }

  /** The clients' sessions that keepalive tells of on a worker's host. */
  clientSessions(worker: number): readonly ClientSession[] {
    const folder = join(this.stateOf(worker), 'agents', 'sessions')
    try {
      const files = readdirSync(folder).filter((name) => name.endsWith('.json'))
      return files.map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as ClientSession)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [] // none yet, or one has gone meanwhile
      throw error
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stage[Symbol.asyncDispose]()
  }
}
