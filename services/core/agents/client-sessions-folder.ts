import { randomBytes } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { CLIENT_ACTIVITIES, type ClientActivity, cleanClientActivity } from '#fleet/client-activity.ts'
import type { KnownProcess } from '#runtime/process-life.ts'
import { OwnFolder } from '#spool/own-folder.ts'
import { diskError, parseObject, readPlainFileSync } from '#spool/plain-file.ts'
import { codeOf } from '#spool/quarantine.ts'
import { SpoolFolders } from '#spool/spool-folders.ts'
import { CLIENTS, type ClientSession, clientSessionName, type NamedClientSession, UNSEEN } from './client-session.ts'
import { agentsFolder } from './hook-reports.ts'
import { sessionIn } from './session-in.ts'
import { type ClientFields, isClientId, objectOf, shortWord } from './whole-fields.ts'

/** Bytes of the largest file anybody reads. */
const FILE_MAX = 64 * 1024
const TEXT_MAX = 4_096
const ENDING = '.json'

/** The folder that keepalive publishes the sessions of clients in; others only read there. */
function clientSessionsFolder(state: string): string {
  return join(agentsFolder(state), 'sessions')
}

/**
 * Publishes a session of a client whole, in one step. After a loss of power it may be an older one, or none: its client is gone then.
 * Throws `unavailable` where the disk refuses.
 */
export async function publishClientSession(state: string, session: ClientSession): Promise<void> {
  const name = fileOf(session)
  const draft = `.${name}.${randomBytes(4).toString('hex')}`
  try {
    using folder = await openFolder(state)
    folder.write(draft, `${JSON.stringify(session)}\n`)
    folder.move(draft, folder, name)
  } catch (error) {
    throw diskError('publishing a session of a client', error)
  }
}

/** In a container the agent may write beside it: whatever lies in its place is put away, and no link is followed. */
async function openFolder(state: string): Promise<OwnFolder> {
  const folders = new SpoolFolders<'sessions'>(agentsFolder(state), () => undefined)
  await folders.ensure(['sessions'])
  return folders.hold('sessions')
}

/** Takes a session away; one that is not there already is no fault. */
export async function removeClientSession(state: string, session: NamedClientSession): Promise<void> {
  try {
    using folder = OwnFolder.open(clientSessionsFolder(state))
    await folder.unlink(fileOf(session))
  } catch (error) {
    if (!/^(ENOENT|invalid)$/.test(codeOf(error))) throw diskError('removing a session of a client', error)
  }
}

/**
 * The sessions of clients on this host, those that have just ended among them. What is no session is passed over. All is read at once:
 * a wake waits for it, and each turn through the thread pool costs more than a few small files.
 */
export async function readClientSessions(state: string): Promise<ClientSession[]> {
  const sessions: ClientSession[] = []
  for (const name of namesIn(clientSessionsFolder(state))) {
    const session = readClientSession(join(clientSessionsFolder(state), name))
    if (session !== null && fileOf(session) === name) sessions.push(session)
  }
  return sessions
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => name.endsWith(ENDING) && !name.startsWith('.'))
      .sort()
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return []
    throw diskError('looking into the sessions of clients', error)
  }
}

function readClientSession(path: string): ClientSession | null {
  try {
    const text = readPlainFileSync(path, FILE_MAX)
    return text === null ? null : parseClientSession(parseObject(text))
  } catch {
    return null
  }
}

function fileOf(session: NamedClientSession): string {
  return `${clientSessionName(session)}${ENDING}`
}

function parseClientSession(fields: ClientFields): ClientSession | null {
  const client = CLIENTS.find((each) => each === fields.client)
  const activity = parseActivity(objectOf(fields.activity))
  if (client === undefined || typeof fields.id !== 'string' || !isClientId(fields.id) || activity === null) return null
  const pane = objectOf(fields.pane)
  const [socket, paneId] = [textOf(pane.socket), textOf(pane.id)]
  return {
    client,
    id: fields.id,
    session: sessionIn(fields.session),
    process: parseProcess(objectOf(fields.process)),
    sharesProcess: fields.sharesProcess === true,
    folder: textOf(fields.folder) ?? '/',
    transcript: textOf(fields.transcript),
    version: shortWord(fields.version),
    permissionMode: shortWord(fields.permissionMode),
    inboxSocket: textOf(fields.inboxSocket),
    pane: socket === null || paneId === null ? null : { socket, id: paneId },
    activity,
    since: numberOf(fields.since),
    heardAt: numberOf(fields.heardAt),
    signs: numberOf(fields.signs),
    unseen: UNSEEN.filter((each) => Array.isArray(fields.unseen) && fields.unseen.includes(each)),
    wakesRead: Array.isArray(fields.wakesRead) ? fields.wakesRead.filter((each) => typeof each === 'string') : [],
  }
}

function parseActivity({ state, what, until }: ClientFields): ClientActivity | null {
  const known = CLIENT_ACTIVITIES.find((each) => each === state)
  if (known === undefined) return null
  return cleanClientActivity({ state: known, what: textOf(what), until: typeof until === 'number' ? until : null })
}

function parseProcess({ pid, startTicks }: ClientFields): KnownProcess | null {
  const isProcess = Number.isSafeInteger(pid) && typeof startTicks === 'string'
  return isProcess ? { pid: pid as number, startTicks } : null
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' && value.length <= TEXT_MAX ? value : null
}

function numberOf(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) ? value : 0
}
