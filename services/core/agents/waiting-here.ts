import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { type SessionId, sideOf } from '#fleet/session-id.ts'
import { credentialsFolder } from '#spool/credentials.ts'
import { parseObject, readPlainFileSync } from '#spool/plain-file.ts'
import type { NamedClientSession } from './client-session.ts'
import type { Waiting } from './hook-answer.ts'
import { leaderMailHere } from './leader-mail.ts'
import { sessionIn } from './session-in.ts'
import { objectOf, shortWord } from './whole-fields.ts'

const FILE_MAX = 4 * 1024 * 1024
/** Messages that are looked into, where a host has several sessions: each says whose it is. */
const LOOKED_AT_MAX = 200

/**
 * What waits on this host for a session of a client, read off the folders alone: no bridge, no program is asked. `named` is the session
 * of the fleet that the client's environment names. On a host without a credential it is the orchestrator's, as its bridge says.
 * `wall`: milliseconds since 1970. What cannot be read counts as nothing.
 */
export async function waitingHere(
  state: string,
  client: NamedClientSession,
  named: SessionId | null,
  wall: number,
): Promise<Waiting> {
  const sessions = sessionsHere(state)
  const session = named ?? soleSession(sessions)
  const isLeader = sessions.length === 0 && (named === null || sideOf(named) === 'a')
  return {
    agent: agentOf(state, session),
    mail: [...mailHere(state, session, sessions.length), ...(isLeader ? leaderMailHere(state, wall) : [])],
    tasks: await tasksHere(state, session, client),
  }
}

/** The tasks that this session of the client took, or that nobody knows which one took. Most hosts have none, and load nothing. */
async function tasksHere(
  state: string,
  session: SessionId | null,
  { client, id }: NamedClientSession,
): Promise<Waiting['tasks']> {
  if (namesIn(join(state, 'held')).length === 0) return []
  const { HeldTasks } = await import('#spool/held-tasks.ts')
  const held = await new HeldTasks(state).list().catch(() => [])
  return held.filter(
    ({ by, lost, ended, ...task }) =>
      lost === null &&
      ended === null &&
      (session === null || task.session === session) &&
      (by === null || (by.client === client && by.id === id)),
  )
}

/** The session that a host's agents work for: the only worker's, or the only one. */
export function soleSession(sessions: readonly SessionId[]): SessionId | null {
  const workers = sessions.filter((each) => sideOf(each) === 'b')
  const [only, ...others] = workers.length > 0 ? workers : sessions
  return others.length === 0 ? (only ?? null) : null
}

function sessionsHere(state: string): SessionId[] {
  return namesIn(credentialsFolder(state)).flatMap((name) => {
    const match = /^([\w-]{1,64})-([ab])\.json$/.exec(name)
    const session = match === null ? null : sessionIn(`${match[1]}/${match[2]}`)
    return session === null ? [] : [session]
  })
}

function agentOf(state: string, session: SessionId | null): Waiting['agent'] {
  if (session === null) return null
  const { agent, role } = fieldsIn(join(credentialsFolder(state), `${session.replace('/', '-')}.json`))
  const name = shortWord(agent)
  return name === null ? null : { name, role: shortWord(role) ?? 'any' }
}

/** Where one session has its credential here, all mail is its own. */
function mailHere(state: string, session: SessionId | null, sessions: number): string[] {
  const folder = join(state, 'inbox', 'new')
  const names = namesIn(folder).filter((name) => /^[1-9]\d{0,15}\.json$/.test(name))
  if (session === null || sessions < 2) return names
  return names.slice(0, LOOKED_AT_MAX).filter((name) => fieldsIn(join(folder, name)).to === session)
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

function fieldsIn(path: string): Readonly<Record<string, unknown>> {
  try {
    const text = readPlainFileSync(path, FILE_MAX)
    return text === null ? {} : objectOf(parseObject(text))
  } catch {
    return {}
  }
}
