import type { SessionId } from '#fleet/session-id.ts'
import type { SessionStore } from '#member/store-member.ts'
import type { Input, Output, VerbName } from '#store/remote/wire-schema.ts'

/** Calls a verb as a session, with all that is checked of one that comes over the network. */
export type CallAs = <N extends VerbName>(name: N, input: Input<N>, session: SessionId) => Promise<Output<N>>

/** The store as one session may use it. */
export function sessionStore(session: SessionId, call: CallAs): SessionStore {
  const ask = async <N extends VerbName>(name: N, input: Input<N>): Promise<Output<N>> =>
    await call(name, input, session)
  return {
    conversations: () => ask('conversations', {}),
    noteStatus: async (session, status) => void (await ask('noteStatus', { session, status })),
    lastStatus: (session) => ask('lastStatus', { session }),
    verdicts: () => ask('verdicts', {}),
    send: (from, key, draft) => ask('send', { from, key, draft: writable(draft) }),
    post: (from, to, key, draft) => ask('post', { from, to, key, draft: writable(draft) }),
    listAgents: () => ask('listAgents', {}),
    unacked: (reader, after, limit) => ask('unacked', { reader, after, limit }),
    leaseMessages: (reader, by, limit, leaseMs) => ask('leaseMessages', { reader, by, limit, leaseMs }),
    messageStatus: (id) => ask('messageStatus', { id }),
    mark: async (reader, ids, mark) => void (await ask('mark', { reader, ids: [...ids], mark })),
    tasks: (filter) => ask('tasks', { filter }),
    task: (id) => ask('task', { id }),
    leaseTask: (holder, incarnation, passing = []) =>
      ask('leaseTask', { holder, incarnation, ...(passing.length === 0 ? {} : { passing: [...passing] }) }),
    report: (holder, report) => ask('report', { holder, report }),
    addTask: (task) => ask('addTask', { task: writable(task) }),
    reserveFiles: (holder, wanted) => ask('reserveFiles', { holder, wanted: writable(wanted) }),
    releaseFiles: (holder, which) => ask('releaseFiles', { holder, which: writable(which) }),
  }
}

/** The schemas know no lists that cannot be written to. */
function writable<T>(value: T): never {
  return value as never
}
