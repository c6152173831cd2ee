import { setTimeout as sleep } from 'node:timers/promises'
import type { Conversation } from '../../services/core/fleet/conversation.ts'
import { sessionId } from '../../services/core/fleet/session-id.ts'
import type { Store } from '../../services/core/store/store.ts'
import type { Neighbour } from '../core/store/sqlite-ground.ts'

const TASK_EVERY_MS = 300
const RETRY_MS = 200

/** How long a bridge may take to answer once nobody kills it any more. */
const LAST_ANSWER_MS = 60_000

/** Calls a verb by a key until it is answered, however often the bridge dies under it; for a while only, once it is over. */
async function untilAnswered<T>(ask: () => Promise<T>, over: AbortSignal): Promise<T> {
  for (let end = Number.POSITIVE_INFINITY; ; ) {
    try {
      return await ask()
    } catch (error) {
      if (over.aborted) end = Math.min(end, performance.now() + LAST_ANSWER_MS)
      if (performance.now() >= end) throw error
      await sleep(RETRY_MS)
    }
  }
}

/** Tasks, each asked for by its id until it is answered. */
export class TaskLoad {
  readonly dealt: string[] = []
  readonly #store: Store
  readonly #conversations: readonly Conversation[]
  readonly #everyMs: number
  readonly #over = new AbortController()
  #going: Promise<void> = Promise.resolve()

  /** One each so many milliseconds, to one agent after the other. */
  constructor(store: Store, conversations: readonly Conversation[], everyMs = TASK_EVERY_MS) {
    this.#store = store
    this.#conversations = conversations
    this.#everyMs = everyMs
  }

  start(): void {
    this.#going = this.#deal()
  }

  /** Returns when the last one is answered. */
  async stop(): Promise<void> {
    this.#over.abort()
    await this.#going
  }

  async #deal(): Promise<void> {
    for (let n = 1; !this.#over.signal.aborted; n += 1) {
      const { id, roles } = this.#conversations[n % this.#conversations.length] as Conversation
      const task = {
        id: `dealt-${n}`,
        description: 'true',
        priority: 'P2',
        role: roles.b,
        holder: null,
        deadline: null,
        createdBy: sessionId(id, 'a'),
      } as const
      await untilAnswered(() => this.#store.addTask(task), this.#over.signal)
      this.dealt.push(task.id)
      await sleep(this.#everyMs, undefined, { signal: this.#over.signal }).catch(() => undefined)
    }
  }
}

const PYTHON_EVERY_MS = 100

/** The Python bridge as one more writer: a connection for each call, and mail that nobody takes. */
export class PythonLoad {
  readonly #python: Neighbour
  #seat: { readonly conversation_id: string; readonly a: string } | null = null
  readonly #over = new AbortController()
  #going: Promise<void> = Promise.resolve()
  /** Messages that it was told are sent. */
  sent = 0
  readonly refused: string[] = []

  constructor(python: Neighbour) {
    this.#python = python
  }

  get reader(): `${string}/b` {
    return `${this.#seat?.conversation_id ?? ''}/b`
  }

  async start(): Promise<void> {
    this.#seat = (await this.#ask('create_conversation', { my_role: 'lead', partner_role: 'scribe' })) as never
    this.#going = this.#send()
  }

  async stop(): Promise<void> {
    this.#over.abort()
    await this.#going
  }

  async #send(): Promise<void> {
    const { conversation_id = '', a: token = '' } = this.#seat ?? {}
    while (!this.#over.signal.aborted) {
      const message = String(this.sent + 1)
      const answer = await this.#ask('send_to_partner', { conversation_id, session_id: 'a', token, message })
      if ('error' in answer) this.refused.push(String(answer.error))
      else this.sent += 1
      await sleep(PYTHON_EVERY_MS, undefined, { signal: this.#over.signal }).catch(() => undefined)
    }
  }

  async #ask(tool: string, args: object): Promise<Readonly<Record<string, unknown>>> {
    this.#python.say({ tool, arguments: args })
    return await this.#python.hear()
  }
}

/** Messages and tasks that are given by commands at the orchestrator: each is said again until it is answered. */
export class Orders {
  readonly #receiver: string
  readonly #role: string
  #isMessage = false
  readonly messages: string[] = []
  readonly tasks: string[] = []

  constructor({ agents, roles }: Conversation) {
    this.#receiver = agents.b
    this.#role = roles.b
  }

  next(): readonly string[] {
    const key = `said-${this.messages.length + 1}`
    if (this.#isMessage) return ['send', this.#receiver, key, '--key', key]
    return ['task', 'add', 'true', '--role', this.#role, '--id', `told-${this.tasks.length + 1}`]
  }

  /** The last one was answered: the next is of the other kind. */
  done(words: readonly string[]): void {
    const kept = this.#isMessage ? this.messages : this.tasks
    kept.push(words.at(-1) ?? '')
    this.#isMessage = !this.#isMessage
  }
}

/** Commands that read, copy, or renew a credential, by turns. */
export class Chores {
  readonly #kinds: readonly (readonly string[])[]
  #turn = 0

  constructor({ agents }: Conversation) {
    this.#kinds = [
      ['backup', '--keep', '1000'],
      ['audit', 'export'],
      ['check', '--peek'],
      ['status', '--json'],
      ['credential', 'rotate', agents.b],
    ]
  }

  next(): readonly string[] {
    this.#turn += 1
    return this.#kinds[this.#turn % this.#kinds.length] as readonly string[]
  }
}
