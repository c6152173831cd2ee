import type { Machine } from './machine.ts'
import {
  boundText,
  type Figures,
  figureText,
  isMet,
  multiplesOf,
  multipleText,
  numberText,
  type Row,
  type Skipped,
} from './row.ts'

/** All rows as one text for people: what it is against others first, then the figures, then whether that was the aim. */
export function tableText(machine: Machine, rows: readonly (Row | Skipped)[]): string {
  const measured = rows.filter((row): row is Row => !('skipped' in row))
  const skipped = rows.filter((row): row is Skipped => 'skipped' in row)
  const lines = measured.map((row) => ({
    ratio: [...multiplesOf(row).map(multipleText), ...ratioTexts(row.ratio ?? {})].join(', '),
    what: row.what,
    ours: figuresText(row.ours),
    reach: Object.entries(row.reach)
      .map(([name, bound]) => boundText(name, bound))
      .join(', '),
    met: { true: 'yes', false: 'NO', null: 'report' }[String(isMet(row)) as 'true' | 'false' | 'null'],
  }))
  const head = { ratio: 'ours against others', what: 'what', ours: 'ours', reach: 'reach', met: 'met' }
  return [
    machineText(machine),
    '',
    ...columns([head, ...lines]),
    '',
    ...measured.flatMap(detail),
    ...skipped.map(({ what, skipped: why }) => `not measured: ${what}: ${why}`),
    countText(measured, skipped.length),
  ].join('\n')
}

function machineText(machine: Machine): string {
  return [
    `${machine.cores} cores (${machine.cpu}), ${machine.memoryGb} GB, Linux ${machine.kernel}`,
    `Node ${machine.node}, SQLite ${machine.sqlite}, Python ${machine.python} with SQLite ${machine.pythonSqlite}`,
    `${machine.fileSystem}, write and fsync of 4 KiB ${numberText(machine.fsyncP50Ms)} ms`,
    `load ${numberText(machine.load)} before it began`,
  ].join('; ')
}

function ratioTexts(ratio: Figures): string[] {
  return Object.entries(ratio).map(([other, times]) => `${numberText(times)} × ${other}`)
}

function figuresText(figures: Figures): string {
  return Object.entries(figures)
    .map(([name, value]) => figureText(name, value))
    .join(', ')
}

/** Cells padded to their column; the last one is left as it is. */
function columns(lines: readonly Readonly<Record<string, string>>[]): string[] {
  const names = Object.keys(lines[0] ?? {})
  const widths = names.map((name) => Math.max(...lines.map((line) => (line[name] ?? '').length)))
  return lines.map((line) =>
    names
      .map((name, at) => (line[name] ?? '').padEnd(widths[at] ?? 0))
      .join('  ')
      .trimEnd(),
  )
}

function detail({ what, beside = {}, note }: Row): string[] {
  const others = Object.entries(beside).map(([other, figures]) => `  ${other}: ${figuresText(figures)}`)
  const lines = [...others, ...(note === undefined ? [] : [`  ${note}`])]
  return lines.length === 0 ? [] : [what, ...lines, '']
}

function countText(rows: readonly Row[], skipped: number): string {
  const verdicts = rows.map(isMet)
  const met = verdicts.filter((verdict) => verdict === true).length
  const missed = verdicts.filter((verdict) => verdict === false).length
  return `${met} met, ${missed} not met, ${verdicts.length - met - missed} reported, ${skipped} not measured`
}
