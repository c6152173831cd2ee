import type { Conversation } from '#fleet/conversation.ts'
import { S2Error } from '#fleet/errors.ts'
import type { Message } from '#fleet/message.ts'
import type { MessageStatus } from '#fleet/message-leases.ts'
import { agentsFor, allowedRecipients, type FleetAgent, type PeerRule } from '#fleet/peer-messages.ts'
import type { LastStatus } from '#fleet/said-status.ts'
import { conversationOf, isObserver, type SessionId, sessionId, sideOf } from '#fleet/session-id.ts'
import type { NewTask, Task } from '#fleet/task.ts'
import { unknownTask } from '#fleet/task-ownership.ts'
import type { Clock } from '#runtime/clock.ts'
import { unknownMessage } from '#store/message-deliveries.ts'
import type { Input } from '#store/remote/wire-schema.ts'
import type { Store } from '#store/store.ts'
import { rateLimited } from './rate-limit.ts'

/** How long it is remembered who leads which conversation. */
const REMEMBERED_MS = 2_000

/**
 * What a session may see: itself, for an orchestrator's session all conversations that its agent leads, and for an observer all
 * there are.
 */
interface Scope {
  readonly self: SessionId
  readonly leads: boolean
  readonly conversations: ReadonlySet<string>
}

type ParticipantVerb =
  | 'conversations'
  | 'post'
  | 'listAgents'
  | 'messageStatus'
  | 'deadLetters'
  | 'retryMessages'
  | 'dropMessages'
  | 'hintCredentials'
  | 'addTask'
  | 'tasks'
  | 'task'
  | 'cancelTask'
  | 'evidence'
  | 'verdicts'
  | 'lastStatus'
  | 'incidents'
  | 'releaseFiles'
  | 'reservations'

export interface PermissionsParts {
  readonly store: Store
  readonly clock: Clock
  /** Which agents a worker may write to beside its orchestrator. */
  readonly peers: PeerRule
  /** Takes requests from the session's allowance; answers 0, or how many seconds to wait. */
  spend(session: SessionId, requests: number): number
}

/** Calls the verbs that a participant may use, and shows it only what its conversations let it see. */
export class Permissions {
  readonly #store: Store
  readonly #clock: Clock
  readonly #peers: PeerRule
  readonly #spend: PermissionsParts['spend']
  #known: { readonly at: number; readonly leaders: Map<string, string> } | null = null

  constructor({ store, clock, peers, spend }: PermissionsParts) {
    this.#store = store
    this.#clock = clock
    this.#peers = peers
    this.#spend = spend
  }

  forget(): void {
    this.#known = null
  }

  async call(verb: ParticipantVerb, input: unknown, self: SessionId): Promise<unknown> {
    if (isObserver(self) && !OBSERVED.has(verb)) throw onlyReads(self)
    const scope = await this.#scope(self)
    switch (verb) {
      case 'conversations':
        return await this.#conversations(scope)
      case 'post':
        return await this.#post(input as Input<'post'>, self)
      case 'listAgents':
        return await this.#listAgents(self)
      case 'messageStatus':
        return await this.#messageStatus((input as Input<'messageStatus'>).id, scope)
      case 'deadLetters':
        return (await this.#store.deadLetters()).filter(
          (status) => isOwnMail(status, scope) || leadsReader(status, scope),
        )
      case 'retryMessages': {
        const { ids } = input as Input<'retryMessages'>
        await this.#demandDecider(ids, scope)
        return await this.#store.retryMessages(ids)
      }
      case 'dropMessages': {
        const { ids } = input as Input<'dropMessages'>
        await this.#demandDecider(ids, scope)
        await this.#store.dropMessages(ids)
        return null
      }
      case 'hintCredentials':
        return await this.#hintCredentials((input as Input<'hintCredentials'>).conversations, scope)
      case 'addTask':
        return await this.#addTask((input as Input<'addTask'>).task, scope)
      case 'tasks':
        return await this.#tasks((input as Input<'tasks'>).filter, scope)
      case 'task':
        return await this.#task((input as Input<'task'>).id, scope)
      case 'cancelTask': {
        const { id } = input as Input<'cancelTask'>
        demandLead(scope, 'withdraws tasks')
        await this.#task(id, scope)
        return await this.#store.cancelTask(id)
      }
      case 'evidence': {
        const { task } = input as Input<'evidence'>
        await this.#task(task, scope)
        return await this.#store.evidence(task)
      }
      case 'releaseFiles':
        return await this.#releaseFiles(input as Input<'releaseFiles'>, scope)
      case 'reservations':
        return await this.#store.reservations(isObserver(self) ? undefined : self) // for all of a fleet to know
      case 'verdicts':
        return await this.#verdicts(scope)
      case 'lastStatus':
        return await this.#lastStatus((input as Input<'lastStatus'>).session, scope)
      case 'incidents':
        if (!isObserver(self)) throw forTheFleet()
        return await this.#store.incidents((input as Input<'incidents'>).filter)
    }
  }

  /** The rule is asked here, and who is meant once more within the verb: what changed in between is as if it had come later. */
  async #post({ from, to, key, draft }: Input<'post'>, self: SessionId): Promise<Message[]> {
    if (from !== self) throw notYours(self)
    const recipients = allowedRecipients(this.#peers, from, to, await this.#store.conversations())
    const waitS = this.#spend(self, recipients.length - 1) // the request itself was counted
    if (waitS > 0) throw rateLimited(waitS)
    return await this.#store.post(from, to, key, draft)
  }

  async #listAgents(self: SessionId): Promise<FleetAgent[]> {
    if (isObserver(self)) return await this.#store.listAgents()
    const { verdicts } = await this.#store.verdicts()
    return agentsFor(this.#peers, self, await this.#store.conversations(), verdicts)
  }

  async #messageStatus(id: number, scope: Scope): Promise<MessageStatus> {
    const status = await this.#store.messageStatus(id)
    if (!isOwnMail(status, scope)) throw unknownMessage(id)
    return status
  }

  /** Who leads a conversation decides on what was not read there. */
  async #demandDecider(ids: readonly number[], scope: Scope): Promise<void> {
    demandLead(scope, 'decides on dead letters')
    for (const id of ids) {
      const status = await this.#store.messageStatus(id)
      if (!leadsReader(status, scope) && !isOwnMail(status, scope)) throw unknownMessage(id)
    }
  }

  async #conversations(scope: Scope): Promise<Conversation[]> {
    return (await this.#store.conversations()).filter(({ id }) => scope.conversations.has(id))
  }

  /** The verdicts on the agents of the conversations that the session may see. */
  async #verdicts(scope: Scope): ReturnType<Store['verdicts']> {
    const names = new Set((await this.#conversations(scope)).flatMap(({ agents }) => [agents.a, agents.b]))
    const { at, verdicts } = await this.#store.verdicts()
    return { at, verdicts: verdicts.filter(({ agent }) => names.has(agent)) }
  }

  /** Of itself and its partners. */
  async #lastStatus(session: SessionId, scope: Scope): Promise<LastStatus | null> {
    if (scope.conversations.has(conversationOf(session))) return await this.#store.lastStatus(session)
    throw new S2Error('forbidden', `${session} is not in one of your conversations`, {
      next: 'ask for a session that you speak with',
    })
  }

  async #hintCredentials(conversations: readonly string[], scope: Scope): Promise<null> {
    const foreign = conversations.find((each) => !scope.conversations.has(each))
    if (foreign !== undefined) {
      throw new S2Error('forbidden', `${foreign} is not one of your conversations`, {
        next: 'name conversations that you take part in',
      })
    }
    await this.#store.hintCredentials(conversations)
    return null
  }

  async #addTask(wanted: NewTask, scope: Scope): Promise<Task> {
    demandLead(scope, 'adds tasks')
    const task = { ...wanted, createdBy: wanted.createdBy ?? scope.self }
    if (!sees(scope, task.createdBy) || sideOf(task.createdBy) !== 'a') {
      throw new S2Error('forbidden', 'a task is created by the session that asks, or by another session of its agent', {
        next: `name ${scope.self} as its creator, or nobody`,
      })
    }
    if (task.holder !== null && !sees(scope, task.holder)) {
      throw new S2Error('forbidden', `${task.holder} is not in one of your conversations`, {
        next: 'give it to a session of yours',
      })
    }
    const added = await this.#store.addTask(task)
    if (!isVisible(added, scope))
      throw new S2Error('conflict', `the task id ${task.id} is taken`, { next: 'choose another' })
    return added
  }

  async #tasks(filter: Input<'tasks'>['filter'], scope: Scope): Promise<Task[]> {
    // The store counts what this session may not see, so that it is asked for all.
    const { limit = Number.POSITIVE_INFINITY, newest = false, ...rest } = filter
    const holder = filter.holder ?? (scope.leads ? undefined : scope.self)
    if (holder !== undefined && !sees(scope, holder)) {
      throw new S2Error('forbidden', `the tasks of ${holder} are not yours to see`, { next: 'ask for your own' })
    }
    const found = await this.#store.tasks(holder === undefined ? rest : { ...rest, holder })
    const visible = found.filter((task) => isVisible(task, scope))
    const from = newest ? Math.max(0, visible.length - limit) : 0
    return visible.slice(from, from + limit)
  }

  async #task(id: string, scope: Scope): Promise<Task> {
    const task = await this.#store.task(id)
    if (!isVisible(task, scope)) throw unknownTask(id)
    return task
  }

  /** A worker's own, and for an orchestrator those of all that it leads. */
  async #releaseFiles({ holder, which }: Input<'releaseFiles'>, scope: Scope): ReturnType<Store['releaseFiles']> {
    if (sees(scope, holder)) return await this.#store.releaseFiles(holder, which, scope.self)
    throw new S2Error('forbidden', `the files of ${holder} are not yours to release`, {
      next: 'ask their holder or the orchestrator to release them',
    })
  }

  async #scope(self: SessionId): Promise<Scope> {
    const own = conversationOf(self)
    if (isObserver(self)) return { self, leads: true, conversations: new Set((await this.#leaders()).keys()) }
    if (sideOf(self) === 'b') return { self, leads: false, conversations: new Set([own]) }
    const leaders = await this.#leaders()
    const agent = leaders.get(own)
    const conversations = new Set([own])
    for (const [id, leader] of leaders) if (leader === agent) conversations.add(id)
    return { self, leads: true, conversations }
  }

  /** The orchestrator's agent of each live conversation. */
  async #leaders(): Promise<Map<string, string>> {
    const now = this.#clock.now()
    if (this.#known !== null && now - this.#known.at < REMEMBERED_MS) return this.#known.leaders
    const leaders = new Map((await this.#store.conversations()).map(({ id, agents }) => [id, agents.a]))
    this.#known = { at: now, leaders }
    return leaders
  }
}

/** What an observer may ask for: of the whole fleet. */
const OBSERVED: ReadonlySet<ParticipantVerb> = new Set([
  'listAgents',
  'conversations',
  'tasks',
  'task',
  'evidence',
  'verdicts',
  'lastStatus',
  'incidents',
  'reservations',
])

/** The refusal of what speaks for another session. */
export function notYours(caller: SessionId): S2Error {
  return new S2Error('forbidden', `${caller} may speak only for itself`, {
    next: 'sign with the credential of the session that is meant',
  })
}

/** The refusal of everything else. */
export function onlyReads(self: SessionId): S2Error {
  return new S2Error('forbidden', `${self} is an observer, which only reads`, {
    next: 'use the credential of an orchestrator or a worker',
  })
}

function forTheFleet(): S2Error {
  return new S2Error('forbidden', "incidents are for observers and the bridge's own host", {
    next: 'have an observer made: s2 observer create; or ask through the administration socket run/admin.sock',
  })
}

function demandLead(scope: Scope, what: string): void {
  if (!scope.leads) {
    throw new S2Error('forbidden', `only the orchestrator's session of a conversation ${what}`, {
      next: `ask ${sessionId(conversationOf(scope.self), 'a')} to do it`,
    })
  }
}

function sees(scope: Scope, session: SessionId): boolean {
  return scope.leads ? scope.conversations.has(conversationOf(session)) : session === scope.self
}

/** Whether the session, or another one of its orchestrator's agent, wrote the message or reads it. */
function isOwnMail({ author, to }: MessageStatus, scope: Scope): boolean {
  const isOwn = (session: SessionId): boolean =>
    session === scope.self ||
    (scope.leads && sideOf(session) === 'a' && scope.conversations.has(conversationOf(session)))
  return isOwn(author) || isOwn(to)
}

function leadsReader({ to }: MessageStatus, scope: Scope): boolean {
  return scope.leads && scope.conversations.has(conversationOf(to))
}

function isVisible(task: Task, scope: Scope): boolean {
  return (task.holder !== null && sees(scope, task.holder)) || (task.createdBy !== null && sees(scope, task.createdBy))
}
