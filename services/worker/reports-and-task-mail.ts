import type { SessionId } from '#fleet/session-id.ts'
import { readAssignmentNews } from '#fleet/task-messages.ts'
import type { Inbox } from '#spool/inbox.ts'
import type { Outbox } from '#spool/outbox.ts'
import type { Reports, TaskMailbox, TaskNews } from './task-loop.ts'

/** Reports through the outbox of this host: keepalive sends them even when this program has ended. */
export function outboxReports(outbox: Pick<Outbox, 'put' | 'outcome' | 'names' | 'list'>): Reports {
  return {
    put: (holder, report) => outbox.put({ kind: 'report', holder, report }),
    carried: async (name) => {
      const outcome = await outbox.outcome(name)
      return typeof outcome === 'string' ? outcome : { refused: outcome.message, code: outcome.code }
    },
    waiting: async (sessions) => {
      if ((await outbox.names()).length === 0) return 0
      const ends = (await outbox.list()).filter(
        ({ item }) => item.kind === 'report' && item.report.state !== 'in_progress' && sessions.includes(item.holder),
      )
      return ends.length
    },
  }
}

/**
 * The messages about tasks in the inbox of this host. Only those are taken: messages of people and agents stay for
 * `s2 check`. `onNews` calls back when a message may have come.
 */
export function inboxTaskMailbox(
  inbox: Pick<Inbox, 'list' | 'read' | 'ack'>,
  onNews: TaskMailbox['onNews'],
): TaskMailbox {
  /** The other messages, which are not read again. */
  let skipped: ReadonlySet<number> = new Set()
  return {
    take: async (sessions) => {
      const news = { assigned: [] as string[], revoked: [] as TaskNews['revoked'][number][] } satisfies TaskNews
      const others = new Set<number>()
      for (const id of await inbox.list('new')) {
        if (skipped.has(id)) others.add(id)
        else if (!(await takeTaskMessage(inbox, id, sessions, news))) others.add(id)
      }
      skipped = others
      return news
    },
    onNews,
  }
}

async function takeTaskMessage(
  inbox: Pick<Inbox, 'read' | 'ack'>,
  id: number,
  sessions: readonly SessionId[],
  news: { readonly assigned: string[]; readonly revoked: TaskNews['revoked'][number][] },
): Promise<boolean> {
  const message = await inbox.read(id)
  if (message === null || !sessions.includes(message.to)) return false
  const content = readAssignmentNews(message)
  if (content === null) return false
  await inbox.ack([id])
  if (content.is === 'assigned') news.assigned.push(content.task)
  else news.revoked.push({ task: content.task, epoch: content.epoch, reason: content.reason })
  return true
}
