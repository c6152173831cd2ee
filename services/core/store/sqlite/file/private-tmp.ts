import { readFileSync } from 'node:fs'
import { S2Error } from '#fleet/errors.ts'

/**
 * Refuses a database in /tmp where systemd gave this program a /tmp of its own (PrivateTmp=, systemd.exec(5)): the file of that
 * name would be another one than others have, and what they write would never come.
 */
export function demandCommonTmp(path: string, mounts: () => string = mountsOfThisProcess): void {
  const folder = FOLDERS.find((each) => path.startsWith(`${each}/`))
  if (folder === undefined || !isPrivate(folder, mounts())) return
  const why = `this service has a ${folder} of its own: it would be another file than the one that others call so`
  throw new S2Error('invalid', `the database ${path} lies in ${folder}, and ${why}`, {
    next: 'stop what uses it and move it with its -wal to a folder like /srv/bridge; see docs/operate.md, Beside the Python bridge',
  })
}

const FOLDERS = ['/tmp', '/var/tmp'] as const

/** Whether a folder of systemd's for one service alone is mounted there, by the lines of proc_pid_mountinfo(5). */
function isPrivate(folder: string, mounts: string): boolean {
  return mounts.split('\n').some((line) => {
    const [, , , root, place] = line.split(' ')
    return place === folder && root?.includes('systemd-private-') === true
  })
}

function mountsOfThisProcess(): string {
  try {
    return readFileSync('/proc/self/mountinfo', 'utf8')
  } catch {
    return ''
  }
}
