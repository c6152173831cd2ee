import type { Conversation } from '#fleet/conversation.ts'
import { S2Error } from '#fleet/errors.ts'
import { conversationOf, type SessionId, sessionId, sideOf } from '#fleet/session.ts'
import type { NewTask, Task } from '#fleet/task.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Input } from '#store/remote/wire-schema.ts'
import type { Store } from '#store/store.ts'

const BELIEVED_MS = 2_000

/** What a session reaches: itself, and for an end `a` all conversations that its agent leads. */
interface Reach {
  readonly self: SessionId
  readonly leads: boolean
  readonly conversations: ReadonlySet<string>
}

type ParticipantVerb =
  | 'conversations'
  | 'hintCredentials'
  | 'addTask'
  | 'tasks'
  | 'task'
  | 'cancelTask'
  | 'evidence'
  | 'verdicts'

/** Calls the verbs that a session may use as far as it reaches, and shows it no more than that. */
export class Permissions {
  readonly #store: Store
  readonly #clock: Clock
  #known: { readonly at: number; readonly leaders: Map<string, string> } | null = null

  constructor(store: Store, clock: Clock) {
    this.#store = store
    this.#clock = clock
  }

  forget(): void {
    this.#known = null
  }

  async call(verb: ParticipantVerb, input: unknown, self: SessionId): Promise<unknown> {
    const reach = await this.#reach(self)
    switch (verb) {
      case 'conversations':
        return await this.#conversations(reach)
      case 'hintCredentials':
        return await this.#hintCredentials((input as Input<'hintCredentials'>).conversations, reach)
      case 'addTask':
        return await this.#addTask((input as Input<'addTask'>).task, reach)
      case 'tasks':
        return await this.#tasks((input as Input<'tasks'>).filter, reach)
      case 'task':
        return await this.#task((input as Input<'task'>).id, reach)
      case 'cancelTask': {
        const { id } = input as Input<'cancelTask'>
        demandLead(reach, 'withdraws tasks')
        await this.#task(id, reach)
        return await this.#store.cancelTask(id)
      }
      case 'evidence': {
        const { task } = input as Input<'evidence'>
        await this.#task(task, reach)
        return await this.#store.evidence(task)
      }
      case 'verdicts':
        return await this.#verdicts(reach)
    }
  }

  async #conversations(reach: Reach): Promise<Conversation[]> {
    return (await this.#store.conversations()).filter(({ id }) => reach.conversations.has(id))
  }

  /** On those who sit at either end of what the session reaches: on itself, then, and on whom it speaks with. */
  async #verdicts(reach: Reach): ReturnType<Store['verdicts']> {
    const names = new Set((await this.#conversations(reach)).flatMap(({ agents }) => [agents.a, agents.b]))
    const { at, verdicts } = await this.#store.verdicts()
    return { at, verdicts: verdicts.filter(({ agent }) => names.has(agent)) }
  }

  async #hintCredentials(conversations: readonly string[], reach: Reach): Promise<null> {
    const foreign = conversations.find((each) => !reach.conversations.has(each))
    if (foreign !== undefined) {
      throw new S2Error('forbidden', `${foreign} is no conversation of yours`, { next: 'name those you are part of' })
    }
    await this.#store.hintCredentials(conversations)
    return null
  }

  async #addTask(wanted: NewTask, reach: Reach): Promise<Task> {
    demandLead(reach, 'adds tasks')
    const task = { ...wanted, createdBy: wanted.createdBy ?? reach.self }
    if (!sees(reach, task.createdBy) || sideOf(task.createdBy) !== 'a') {
      throw new S2Error('forbidden', 'a task is created by the session that asks, or another end of its agent', {
        next: `name ${reach.self} as its creator, or nobody`,
      })
    }
    if (task.holder !== null && !sees(reach, task.holder)) {
      throw new S2Error('forbidden', `${task.holder} is no conversation of yours`, { next: 'give it to one of yours' })
    }
    const added = await this.#store.addTask(task)
    if (!isVisible(added, reach))
      throw new S2Error('conflict', `the task id ${task.id} is taken`, { next: 'choose another' })
    return added
  }

  async #tasks(filter: Input<'tasks'>['filter'], reach: Reach): Promise<Task[]> {
    const { limit, ...rest } = filter
    const holder = filter.holder ?? (reach.leads ? undefined : reach.self)
    if (holder !== undefined && !sees(reach, holder)) {
      throw new S2Error('forbidden', `the tasks of ${holder} are not yours to see`, { next: 'ask for your own' })
    }
    const found = await this.#store.tasks(holder === undefined ? rest : { ...rest, holder })
    return found.filter((task) => isVisible(task, reach)).slice(0, limit)
  }

  async #task(id: string, reach: Reach): Promise<Task> {
    const task = await this.#store.task(id)
    if (!isVisible(task, reach)) throw new S2Error('not_found', `there is no task ${id.slice(0, 80)}`)
    return task
  }

  async #reach(self: SessionId): Promise<Reach> {
    const own = conversationOf(self)
    if (sideOf(self) === 'b') return { self, leads: false, conversations: new Set([own]) }
    const leaders = await this.#leaders()
    const agent = leaders.get(own)
    const conversations = new Set([own])
    for (const [id, leader] of leaders) if (leader === agent) conversations.add(id)
    return { self, leads: true, conversations }
  }

  /** The agent at the end `a` of each live conversation. */
  async #leaders(): Promise<Map<string, string>> {
    const now = this.#clock.now()
    if (this.#known !== null && now - this.#known.at < BELIEVED_MS) return this.#known.leaders
    const leaders = new Map((await this.#store.conversations()).map(({ id, agents }) => [id, agents.a]))
    this.#known = { at: now, leaders }
    return leaders
  }
}

function demandLead(reach: Reach, what: string): void {
  if (!reach.leads) {
    throw new S2Error('forbidden', `only the orchestrator's end of a conversation ${what}`, {
      next: `ask ${sessionId(conversationOf(reach.self), 'a')} to do it`,
    })
  }
}

function sees(reach: Reach, session: SessionId): boolean {
  return reach.leads ? reach.conversations.has(conversationOf(session)) : session === reach.self
}

function isVisible(task: Task, reach: Reach): boolean {
  return (task.holder !== null && sees(reach, task.holder)) || (task.createdBy !== null && sees(reach, task.createdBy))
}
