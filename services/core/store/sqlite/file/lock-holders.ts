import { readFileSync } from 'node:fs'
import { textHead } from '#fleet/cut-text.ts'
import { redact } from '#fleet/redact.ts'
import { processStat } from '#runtime/process-stat.ts'
import { type FileIdentity, identify } from './database-path.ts'

/** A process that holds a lock on a file of a database. */
export interface LockHolder {
  readonly pid: number
  /** What it runs, without the values of its arguments: `python3 server.py`. */
  readonly command: string
  /** It was stopped (SIGSTOP, Ctrl-Z, a debugger), and gives no lock back before it goes on. */
  readonly isStopped: boolean
}

/** A lock as proc_locks(5) shows it. */
interface Lock {
  readonly inode: number
  readonly pid: number
  readonly isWrite: boolean
  readonly first: number
  readonly last: number
}

/** The byte of the `-shm` file that whoever writes to a database in WAL mode has locked (sqlite.org/walformat.html, 2.3.1). */
const WAL_WRITER_BYTE = 120
/** Those of which a reader has one locked, by the state of the log that it reads. */
const WAL_READ_BYTES = { first: 123, last: 127 }
/** From here on lie the bytes of the database itself that are locked where it is used without a log, or by one process alone. */
const PENDING_BYTE = 0x40000000
const COMMAND_MAX = 80

/**
 * The other processes that hold locks on a file, as far as the kernel shows them: each process holds one for as long as it has a
 * database in WAL mode open. Null where that cannot be seen.
 */
export function holdersOf({ inode }: FileIdentity): string[] | null {
  const locks = readLocks()
  if (locks === null) return null
  const pids = locks.flatMap((lock) => (lock.inode === inode && lock.pid !== process.pid ? [lock.pid] : []))
  return [...new Set(pids)].map((pid) => holderInWords(describe(pid)))
}

/**
 * Who has the write lock of a database now. Null where nobody is seen to have it: the holder may be in another container, or has
 * given it back meanwhile.
 */
export function writerOf(path: string): LockHolder | null {
  const [index, main] = [identify(`${path}-shm`), identify(path)]
  const writes = (readLocks() ?? []).filter(({ isWrite }) => isWrite)
  const writer =
    writes.find((lock) => lock.inode === index?.inode && covers(lock, WAL_WRITER_BYTE)) ??
    writes.find((lock) => lock.inode === main?.inode && lock.last >= PENDING_BYTE)
  return writer === undefined ? null : describe(writer.pid)
}

/** The other processes that read a database in WAL mode now, as far as the kernel shows them. */
export function readersOf(path: string): LockHolder[] {
  const index = identify(`${path}-shm`)
  const reads = (readLocks() ?? []).filter(
    ({ inode, pid, first, last }) =>
      inode === index?.inode && pid !== process.pid && first >= WAL_READ_BYTES.first && last <= WAL_READ_BYTES.last,
  )
  return [...new Set(reads.map(({ pid }) => pid))].map(describe)
}

/** `python3 server.py (pid 812, stopped)` */
export function holderInWords({ pid, command, isStopped }: LockHolder): string {
  return `${command} (pid ${pid}${isStopped ? ', stopped' : ''})`
}

/** What a person can do about a holder that does not give its lock back. */
export function nextAbout(holder: LockHolder | null, path: string): string {
  if (holder === null) return `it is in another container, or may not be seen by this user: fuser ${path}, as root`
  const { pid, isStopped } = holder
  return isStopped
    ? `let it go on (kill -CONT ${pid}) or end it (kill -KILL ${pid})`
    : `wait for it, or end it (kill ${pid})`
}

function covers({ first, last }: Lock, byte: number): boolean {
  return first <= byte && byte <= last
}

/** Null where the kernel does not show them. */
function readLocks(): Lock[] | null {
  try {
    return readFileSync('/proc/locks', 'utf8').split('\n').flatMap(lockOf)
  } catch {
    return null
  }
}

/** Reads `1: POSIX  ADVISORY  WRITE 812 08:01:1234 120 120`; a line of one that waits for another has `->` in it and counts not. */
function lockOf(line: string): Lock[] {
  const [, , , kind, pid, file = '', first, last] = line.trim().split(/\s+/)
  if (kind !== 'READ' && kind !== 'WRITE') return []
  return [
    {
      inode: Number(file.split(':')[2]),
      pid: Number(pid),
      isWrite: kind === 'WRITE',
      first: Number(first),
      last: last === 'EOF' ? Number.POSITIVE_INFINITY : Number(last),
    },
  ]
}

function describe(pid: number): LockHolder {
  return { pid, command: commandOf(pid), isStopped: isStopped(pid) }
}

/** Its program and the script that this runs, and no more: secrets may be among the arguments of others. */
function commandOf(pid: number): string {
  try {
    const [title = '', ...args] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
    const program = nameOf(title.split(' ')[0])
    if (program === '') return 'a process'
    return textHead(redact([program, ...scriptIn(args)].join(' ')), COMMAND_MAX)
  } catch {
    return 'a process'
  }
}

/** What follows another option than these may be its value. */
const FLAGS_OF_PYTHON = /^-[uBEIOSbs]+$/

function scriptIn(args: readonly string[]): string[] {
  const [first = '', second = ''] = args.filter((each) => !FLAGS_OF_PYTHON.test(each))
  if (first === '-m') return [first, second]
  return first === '' || first.startsWith('-') ? [] : [nameOf(first)]
}

function nameOf(path: string | undefined): string {
  return path?.split('/').at(-1) ?? ''
}

function isStopped(pid: number): boolean {
  return ['T', 't'].includes(processStat(pid)?.state ?? '')
}
