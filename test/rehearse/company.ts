import type { AuditEntry } from '../../services/core/fleet/audit.ts'
import type { Conversation } from '../../services/core/fleet/conversation.ts'
import { type SessionId, sessionId } from '../../services/core/fleet/session-id.ts'
import { isOpen } from '../../services/core/fleet/task.ts'
import type { Store } from '../../services/core/store/store.ts'
import { workerOf } from './stage.ts'

/** The fleet, for whoever gives it work and asks how it is. */
export interface Company {
  readonly store: Store
  readonly conversations: readonly Conversation[]
  /** Every task that was ever dealt. */
  readonly dealt: string[]
}

export async function deal(company: Company, worker: number, id: string, description: string): Promise<string> {
  const conversation = company.conversations.find(({ agents }) => agents.b === workerOf(worker))
  if (conversation === undefined) throw new Error(`${workerOf(worker)} has no conversation`)
  await company.store.addTask({
    id,
    description,
    priority: 'P2',
    role: conversation.roles.b,
    holder: sessionId(conversation.id, 'b'),
    deadline: null,
    createdBy: sessionId(conversation.id, 'a'),
  })
  company.dealt.push(id)
  return id
}

export async function aliveAgents(store: Store): Promise<number> {
  return (await store.verdicts()).verdicts.filter(({ verdict }) => verdict === 'alive').length
}

export async function verdictOf(store: Store, agent: string): Promise<string | undefined> {
  return (await store.verdicts()).verdicts.find((each) => each.agent === agent)?.verdict
}

export async function allCompleted(store: Store, ids: readonly string[]): Promise<boolean> {
  const tasks = await Promise.all(ids.map((id) => store.task(id)))
  return tasks.every(({ state }) => state === 'completed')
}

/** How many of these tasks are in progress; or were, where this machine was slow to look. */
export async function begun(store: Store, ids: readonly string[]): Promise<number> {
  const tasks = await Promise.all(ids.map((id) => store.task(id)))
  return tasks.filter(({ state }) => state === 'in_progress' || !isOpen(state)).length
}

export function agentOf({ conversations }: Company, session: SessionId | null): string {
  return conversations.find(({ id }) => session === sessionId(id, 'b'))?.agents.b ?? 'nobody'
}

export async function wholeAudit(store: Store): Promise<AuditEntry[]> {
  const entries: AuditEntry[] = []
  for (;;) {
    const more = await store.audit(entries.at(-1)?.seq ?? 0, 1_000)
    if (more.length === 0) return entries
    entries.push(...more)
  }
}
