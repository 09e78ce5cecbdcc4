// Numbers as people read them.

export const figure = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)).replace(/^0\.00$/, "0");

export const bytes = (count) => {
  const units = ["B", "KB", "MB", "GB", "TB"];
  const power = count ? Math.min(Math.floor(Math.log(count) / Math.log(1000)), 4) : 0;
  return `${(count / 1000 ** power).toFixed(power > 1 ? 1 : 0)} ${units[power]}`;
};

export const milliseconds = (seconds) => `${figure(seconds * 1000)} ms`;

export const seconds = (value) => (value < 60 ? `${value.toFixed(value < 10 ? 1 : 0)} s` : `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`);

export const count = (value) => value.toLocaleString("en");
