import { cut, oneLine, pad, widthOf } from './terminal-text.ts'

export interface Column {
  readonly title: string
  /** Takes the room that the other columns leave, and is cut first. */
  readonly stretches?: boolean
  /** Is left out, the lowest number first, where stretching columns would become too narrow. */
  readonly yields?: number
}

/** The greatest width of a cell that does not stretch, in a window. */
const CELL_MAX = 28
/** Without a window: a longer text moves the cells behind it in its own line, and no other line is padded to it. */
const PAD_MAX = 80
/** Below this width of a stretching column, other columns are left out. */
const STRETCH_MIN = 16

/** Lays rows under titles, two spaces apart, no line longer than `width`, which may be Infinity. Control characters are replaced. */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[], width: number): string[] {
  const cells = rows.map((row) => columns.map((_, index) => oneLine(row[index] ?? '')))
  const natural = columns.map(({ title, stretches }, index) => {
    const widest = Math.max(widthOf(title), ...cells.map((row) => widthOf(row[index] ?? '')))
    return stretches === true || width === Number.POSITIVE_INFINITY ? widest : Math.min(widest, CELL_MAX)
  })
  const gaps = 2 * (columns.length - 1)
  const fixed = natural.reduce((sum, each, index) => sum + (columns[index]?.stretches === true ? 0 : each), 0)
  const elastic = columns.filter(({ stretches }) => stretches === true).length
  const free = elastic === 0 ? 0 : Math.floor((width - gaps - fixed) / elastic)
  const first = free < STRETCH_MIN ? firstToYield(columns) : undefined
  if (first !== undefined) {
    const others = <T>(all: readonly T[]): T[] => all.filter((_, index) => index !== first)
    return table(others(columns), rows.map(others), width)
  }
  const room = elastic === 0 ? 0 : Math.max(8, free)
  const widths = natural.map((each, index) => (columns[index]?.stretches === true ? Math.min(each, room) : each))
  const padMax = width === Number.POSITIVE_INFINITY ? PAD_MAX : width
  const lay = (row: readonly string[]): string =>
    cut(
      row
        .map((cell, index) => pad(cut(cell, widths[index] ?? 0), Math.min(widths[index] ?? 0, padMax)))
        .join('  ')
        .trimEnd(),
      width,
    )
  return [lay(columns.map(({ title }) => title)), ...cells.map(lay)]
}

function firstToYield(columns: readonly Column[]): number | undefined {
  const least = Math.min(...columns.map(({ yields = Number.POSITIVE_INFINITY }) => yields))
  return least === Number.POSITIVE_INFINITY ? undefined : columns.findIndex(({ yields }) => yields === least)
}
