import { accessSync, constants } from 'node:fs'
import { isRunning } from '#runtime/process-life.ts'
import { processStat } from '#runtime/process-stat.ts'
import { claudeFolder } from './claude-status.ts'
import type { ClientSession, Unseen } from './client-session.ts'

/**
 * What this program cannot see of a client that runs: a sandbox hides homes (ProtectHome) and processes of others (ProtectProc), and so
 * do modes of files. Not to see says nothing of the client.
 */
export function unseenOf(session: ClientSession): readonly Unseen[] {
  const folder = claudeFolder(session)
  const { process } = session
  return [
    ...(folder !== null && !mayRead(folder) ? (['files'] as const) : []),
    ...(process !== null && isRunning(process) && processStat(process.pid) === null ? (['process'] as const) : []),
  ]
}

/** The session with what is not seen of it; the same one where that is nothing new. */
export function withUnseen(session: ClientSession, unseen: readonly Unseen[]): ClientSession {
  return unseen.join() === session.unseen.join() ? session : { ...session, unseen }
}

function mayRead(folder: string): boolean {
  try {
    accessSync(folder, constants.R_OK | constants.X_OK)
    return true
  } catch {
    return false // a hook has just told of a file in it, so that it is there
  }
}
