import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'

/** What of a machine's traffic the router loses. Seen from the machine: `inbound` is what goes to it. */
export type Cut = 'both' | 'inbound' | 'outbound'

/** The share of packets that a bad line loses, each way. */
export const LOSS = 0.2
const BADLY = ['-m', 'statistic', '--mode', 'random', '--probability', String(LOSS)]

/** The router that stands between the machines: a link of its own to each, and it forwards what it is not told to lose. */
export class Router {
  constructor() {
    run('ip', 'link', 'set', 'lo', 'up')
    writeFileSync('/proc/sys/net/ipv4/ip_forward', '1')
  }

  addressOf(machine: number): string {
    return `10.77.${machine}.2`
  }

  /** Lays a line to the machine whose first process this is; the one it had ended with it, or is about to. */
  plugIn(machine: number, pid: number): void {
    const line = lineOf(machine)
    for (const { ifname } of JSON.parse(run('ip', '-json', 'link', 'show')) as { ifname: string }[])
      if (ifname === line) run('ip', 'link', 'del', line)
    const inside = (...words: string[]): string => run('nsenter', '-t', String(pid), '-n', 'ip', ...words)
    run('ip', 'link', 'add', line, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(pid))
    run('ip', 'addr', 'add', `10.77.${machine}.1/30`, 'dev', line)
    run('ip', 'link', 'set', line, 'up')
    inside('addr', 'add', `${this.addressOf(machine)}/30`, 'dev', 'eth0')
    inside('link', 'set', 'eth0', 'up')
    inside('route', 'add', 'default', 'via', `10.77.${machine}.1`)
  }

  cut(machine: number, cut: Cut): void {
    for (const rule of rulesOf(machine, cut)) run('iptables', '-A', 'FORWARD', ...rule, '-j', 'DROP')
  }

  /** Undoes a cut; answers how many packets it has kept back, in each direction that it had. */
  heal(machine: number, cut: Cut): number[] {
    const lost = rulesOf(machine, cut).map((rule) => this.#lostBy(rule))
    for (const rule of rulesOf(machine, cut)) run('iptables', '-D', 'FORWARD', ...rule, '-j', 'DROP')
    return lost
  }

  /** Makes a line bad. */
  worsen(machine: number): void {
    for (const rule of rulesOf(machine, 'both')) run('iptables', '-A', 'FORWARD', ...rule, ...BADLY, '-j', 'DROP')
  }

  /** Makes a bad line a good one. */
  mend(machine: number): void {
    for (const rule of rulesOf(machine, 'both')) run('iptables', '-D', 'FORWARD', ...rule, ...BADLY, '-j', 'DROP')
  }

  /** Packets that the bad line has lost, to the machine and from it. */
  lostAt(machine: number): number[] {
    return rulesOf(machine, 'both').map((rule) => this.#lostBy(rule))
  }

  #lostBy([way, line]: Rule): number {
    const table = run('iptables', '-nvxL', 'FORWARD')
      .split('\n')
      .map((row) => row.trim().split(/\s+/))
    const rows = table.filter(
      ([, , target, , , into, out]) => target === 'DROP' && (way === '-i' ? into : out) === line,
    )
    return rows.reduce((sum, [packets]) => sum + Number(packets), 0)
  }
}

type Rule = readonly [way: '-i' | '-o', line: string]

function rulesOf(machine: number, cut: Cut): Rule[] {
  const to: Rule = ['-o', lineOf(machine)]
  const from: Rule = ['-i', lineOf(machine)]
  return cut === 'both' ? [to, from] : cut === 'inbound' ? [to] : [from]
}

function lineOf(machine: number): string {
  return `line${machine}`
}

function run(command: string, ...args: readonly string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
}
