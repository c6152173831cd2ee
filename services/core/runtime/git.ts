import { type Ending, howItEnded } from './command.ts'

/** For every git that is run: it asks no terminal, speaks the transports that S2 means, and speaks English. git(1) */
export const GIT_ENV = {
  GIT_TERMINAL_PROMPT: '0',
  GIT_ALLOW_PROTOCOL: 'file:git:http:https:ssh',
  GIT_SSH_COMMAND: 'ssh -oBatchMode=yes -oConnectTimeout=10',
  LC_ALL: 'C',
} as const

const COMPLAINT_MAX = 300

/** Why git failed: the line of its own that names the cause, or how it ended. What it says may hold a secret of the remote. */
export function complaintOf(ending: Ending): string {
  if (ending.ended !== null) return howItEnded(ending)
  const lines = ending.stderr.split('\n')
  const line = lines.find((each) => /^(fatal|error|remote|ssh|sh):/i.test(each)) ?? lines[0] ?? ''
  return line.replace(/[^\x20-\x7e]/g, '.').slice(0, COMPLAINT_MAX) || howItEnded(ending)
}

/** Whether git complains that the remote does not let us in. */
export function isRefused({ stderr }: Ending): boolean {
  return /Authentication|Permission denied|could not read Username|terminal prompts disabled/i.test(stderr)
}
